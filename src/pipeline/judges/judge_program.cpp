#include "rluf/pipeline/judges/judge_program.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"

namespace rluf {
namespace {

constexpr std::size_t kLongestAnswer = std::size_t{1} << 20;  ///< bytes; a line without an end would fill the memory
constexpr double kSecondsToEnd = 1;

[[noreturn]] void fail_system(const char* doing) {
  throw Error(ExitCode::kOther,
              concat("cannot ", doing, " (", std::strerror(errno), "): see the limits of processes and open files"));
}

bool is_executable_file(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

/// Open descriptors of this process, which the program must not inherit.
std::vector<int> open_descriptors() {
  std::vector<int> open;
  if (DIR* folder = ::opendir("/proc/self/fd")) {
    while (const dirent* entry = ::readdir(folder))
      if (const int descriptor = std::atoi(entry->d_name); descriptor > 2) open.push_back(descriptor);
    ::closedir(folder);
  }
  return open;
}

void close_if_open(int& descriptor) {
  if (descriptor >= 0) ::close(descriptor);
  descriptor = -1;
}

}  // namespace

std::vector<std::string> command_words(const std::string& command) {
  std::vector<std::string> words;
  bool quoted = false, open = false;
  for (const char c : command) {
    const bool space = c == ' ' || c == '\t';
    if (c == '"') quoted = !quoted;
    if (space && !quoted) {
      open = false;
      continue;
    }
    if (!open) words.emplace_back();
    open = true;
    if (c != '"') words.back() += c;
  }
  return words;
}

std::string find_program(const std::string& word, const std::string& option) {
  if (word.find('/') != word.npos) {
    if (is_executable_file(word)) return word;
    struct stat info {};
    const bool is_there = ::stat(word.c_str(), &info) == 0;
    fail_input(concat(option, ": ", word, is_there ? " is no file that may be executed" : " is missing"),
               "no response could be judged by it", is_there ? "check it, and chmod +x" : "check the path");
  }
  const char* path = std::getenv("PATH");
  const std::string folders = path == nullptr ? "" : path;
  for (std::size_t first = 0; first <= folders.size();) {
    const std::size_t last = std::min(folders.find(':', first), folders.size());
    const std::string file = folders.substr(first, last - first) + "/" + word;
    if (last > first && is_executable_file(file)) return file;
    first = last + 1;
  }
  fail_input(concat(option, ": no program ", word, " in PATH"), "no response could be judged by it",
             "check its name, or give its path");
}

void JudgeProgram::start() {
  RLUF_ASSERT(!is_running() && !words_.empty());
  // A socket as its standard input: writing to a program that has ended is an error there, and no signal.
  int input[2], output[2], failure[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, input) != 0 || ::pipe2(output, O_CLOEXEC) != 0 ||
      ::pipe2(failure, O_CLOEXEC) != 0)
    fail_system("make a pipe to the program of a judge");
  std::vector<char*> arguments;
  for (std::string& word : words_) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const std::vector<int> inherited = open_descriptors();
  const pid_t parent = ::getpid(), child = ::fork();
  if (child < 0) fail_system("start the program of a judge");
  if (child == 0) {  // only what is safe between fork and exec
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);
    ::dup2(input[1], 0);
    ::dup2(output[1], 1);
    for (const int descriptor : inherited)
      if (descriptor != failure[1]) ::close(descriptor);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    for (const int signal : {SIGPIPE, SIGINT, SIGTERM, SIGUSR1, SIGUSR2}) ::signal(signal, SIG_DFL);
    ::execv(arguments[0], arguments.data());
    const int error = errno;
    [[maybe_unused]] const auto written = ::write(failure[1], &error, sizeof error);
    ::_exit(127);
  }
  ::setpgid(child, child);  // whoever of the two comes first
  ::close(input[1]);
  ::close(output[1]);
  ::close(failure[1]);
  int error = 0;
  ssize_t got = 0;
  do got = ::read(failure[0], &error, sizeof error);
  while (got < 0 && errno == EINTR);
  ::close(failure[0]);
  process_ = child;
  input_ = input[0];
  output_ = output[0];
  ::fcntl(output_, F_SETFL, O_NONBLOCK);
  unread_.clear();
  if (got > 0) {
    end();
    fail_input(concat("the program of a judge, ", words_[0], ", cannot be executed"), std::strerror(error),
               "check its first line (#!) and for which machine it was made");
  }
}

void JudgeProgram::end() {
  if (!is_running()) return;
  close_if_open(input_);
  close_if_open(output_);
  const double limit = now_seconds() + kSecondsToEnd;
  bool ended = false;
  while (!(ended = ::waitpid(process_, nullptr, WNOHANG) != 0) && now_seconds() < limit) ::usleep(2000);
  ::kill(-process_, SIGKILL);  // with what it has started
  if (!ended) ::waitpid(process_, nullptr, 0);
  process_ = -1;
}

std::string JudgeProgram::how_it_ended() {
  int status = 0;
  const double limit = now_seconds() + kSecondsToEnd;
  pid_t ended = 0;
  while ((ended = ::waitpid(process_, &status, WNOHANG)) == 0 && now_seconds() < limit) ::usleep(2000);
  if (ended != process_) return "the program closed its output";
  ::kill(-process_, SIGKILL);
  close_if_open(input_);
  close_if_open(output_);
  process_ = -1;
  return WIFSIGNALED(status) ? concat("the program was ended by signal ", WTERMSIG(status))
                             : concat("the program ended with exit code ", WEXITSTATUS(status));
}

JudgeProgram::Answer JudgeProgram::fail(const std::string& problem) {
  if (is_running()) {
    ::kill(-process_, SIGKILL);
    end();
  }
  return {false, problem};
}

JudgeProgram::Answer JudgeProgram::ask(const std::string& line, double seconds) {
  const double limit = now_seconds() + seconds;
  const std::string question = line + "\n";
  std::size_t written = 0;
  char buffer[4096];
  for (;;) {
    const double left = limit - now_seconds();
    if (left <= 0) return fail(concat("no answer within ", seconds, " s"));
    pollfd watched[2] = {{output_, POLLIN, 0}, {input_, POLLOUT, 0}};
    const int ready = ::poll(watched, written < question.size() ? 2 : 1, static_cast<int>(left * 1000) + 1);
    if (ready < 0 && errno != EINTR) return fail(concat("waiting failed: ", std::strerror(errno)));
    if (ready <= 0) continue;
    if (watched[0].revents != 0) {
      const ssize_t got = ::read(output_, buffer, sizeof buffer);
      if (got == 0) return fail(how_it_ended());
      if (got < 0 && errno != EAGAIN && errno != EINTR) return fail(concat("reading failed: ", std::strerror(errno)));
      if (got > 0) unread_.append(buffer, static_cast<std::size_t>(got));
      if (!unread_.empty() && written < question.size()) return fail("it answered before it had read the question");
      if (unread_.size() > kLongestAnswer) return fail("a line of more than 1 MiB");
      if (const std::size_t end = unread_.find('\n'); end != unread_.npos) {
        const std::string answer = unread_.substr(0, end);
        if (end + 1 < unread_.size()) return fail("more than one line for one question");
        unread_.clear();
        return {true, answer};
      }
    }
    if (written < question.size() && watched[1].revents != 0) {
      const ssize_t put =
          ::send(input_, question.data() + written, question.size() - written, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (put > 0) written += static_cast<std::size_t>(put);
      if (put < 0 && errno != EAGAIN && errno != EINTR) return fail(how_it_ended());
    }
  }
}

}  // namespace rluf
