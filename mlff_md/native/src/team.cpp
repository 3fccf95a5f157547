#include "team.h"

#include <unistd.h>

namespace mlff {
namespace {

// Spinning is worth it for the microseconds between the layers of a small structure, not longer.
constexpr int kSpins = 4000;

template <class Done> void spin(Done done) {
  for (int k = 0; !done(); k++) {
    if (k < kSpins) {
#if defined(__x86_64__) || defined(__i386__)
      __builtin_ia32_pause();
#endif
    } else {
      std::this_thread::yield();
    }
  }
}

} // namespace

Team::~Team() {
  if (process_ != long(getpid())) { // after a fork the threads are not ours
    for (std::thread &thread : threads_)
      thread.detach();
    return;
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
    call_++;
  }
  called_.notify_all();
  for (std::thread &thread : threads_)
    thread.join();
}

void Team::start() {
  for (std::thread &thread : threads_)
    thread.detach();
  threads_.clear();
  process_ = long(getpid());
  for (int rank = 1; rank < size_; rank++)
    threads_.emplace_back([this, rank, seen = call_.load()]() mutable {
      for (;;) {
        bool called = false;
        for (int k = 0; k < kSpins && !called; k++)
          called = call_.load(std::memory_order_acquire) != seen;
        if (!called) {
          std::unique_lock<std::mutex> lock(mutex_);
          called_.wait(lock, [&] { return call_.load() != seen; });
        }
        seen = call_.load(std::memory_order_acquire);
        if (stop_)
          return;
        (*work_)(rank);
        running_.fetch_sub(1, std::memory_order_release);
      }
    });
}

void Team::run(const std::function<void(int)> &work) {
  if (size_ == 1) {
    work(0);
    return;
  }
  if (process_ != long(getpid()))
    start();
  work_ = &work;
  running_.store(size_ - 1, std::memory_order_relaxed);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    call_.fetch_add(1, std::memory_order_release);
  }
  called_.notify_all();
  work(0);
  spin([&] { return running_.load(std::memory_order_acquire) == 0; });
}

void Team::wait() {
  if (size_ == 1)
    return;
  const long round = round_.load(std::memory_order_acquire);
  if (waiting_.fetch_add(1, std::memory_order_acq_rel) == size_ - 1) {
    waiting_.store(0, std::memory_order_relaxed);
    round_.fetch_add(1, std::memory_order_release);
  } else {
    spin([&] { return round_.load(std::memory_order_acquire) != round; });
  }
}

} // namespace mlff
