#include "rluf/pipeline/plan/meta_memory.hpp"

#include <c10/core/Allocator.h>

#include <algorithm>

namespace rluf {
namespace {

struct Count {
  std::int64_t now = 0, peak = 0;
};
thread_local Count count;

void release(void* size) { count.now -= static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(size)); }

/// Gives no memory and remembers how much it would have been.
class CountingAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t num_bytes) override {
    count.now += static_cast<std::int64_t>(num_bytes);
    count.peak = std::max(count.peak, count.now);
    return {nullptr, reinterpret_cast<void*>(num_bytes), &release, c10::Device(c10::DeviceType::Meta)};
  }
  void copy_data(void*, const void*, std::size_t) const override {}
};

CountingAllocator counting;
c10::Allocator* former = nullptr;

}  // namespace

MetaMemory::MetaMemory() {
  former = c10::GetAllocator(c10::DeviceType::Meta);
  c10::SetAllocator(c10::DeviceType::Meta, &counting, 1);
}

MetaMemory::~MetaMemory() { c10::SetAllocator(c10::DeviceType::Meta, former, 1); }

std::int64_t meta_peak_bytes() { return count.peak; }
void reset_meta_peak() { count.peak = count.now; }

}  // namespace rluf
