// The main of every test program: results of all ranks are combined, other ranks than 0 only speak up when they fail.
#include <gtest/gtest.h>
#include <mpi.h>

#include <Kokkos_Core.hpp>
#include <cstdio>

#include "rluf/core/log.hpp"

#ifdef __SANITIZE_ADDRESS__
// MPI's plugins stay loaded to the end, so that their leaks carry their names and tests/sanitizers.supp knows them.
extern "C" int dlclose(void*) { return 0; }
#endif

int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  Kokkos::initialize(argc, argv);
  int rank = 0, size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  rluf::set_log_rank(rank, size);
  testing::InitGoogleTest(&argc, argv);
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  if (rank != 0) delete listeners.Release(listeners.default_result_printer());
  int failed = RUN_ALL_TESTS();
  const auto* unit_test = testing::UnitTest::GetInstance();
  if (rank != 0 && failed != 0) {
    for (int s = 0; s < unit_test->total_test_suite_count(); ++s) {
      const auto* suite = unit_test->GetTestSuite(s);
      for (int t = 0; t < suite->total_test_count(); ++t) {
        const auto* result = suite->GetTestInfo(t)->result();
        for (int p = 0; p < result->total_part_count(); ++p)
          if (result->GetTestPartResult(p).failed())
            std::fprintf(stderr, "rank %d: %s.%s: %s\n", rank, suite->name(), suite->GetTestInfo(t)->name(),
                         result->GetTestPartResult(p).message());
      }
    }
  }
  if (unit_test->test_to_run_count() == 0) {
    std::fprintf(stderr, "no test was executed, which counts as a failure\n");
    failed = 1;
  }
  MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  if (rank == 0 && failed != 0) std::fprintf(stderr, "at least one rank failed\n");
  Kokkos::finalize();
  MPI_Finalize();
  return failed == 0 ? 0 : 1;
}
