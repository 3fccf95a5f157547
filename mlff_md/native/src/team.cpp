#include "team.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <unistd.h>
#include <vector>

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

struct Team::Workers {
  explicit Workers(int size) {
    for (int rank = 1; rank < size; rank++)
      threads.emplace_back([this, rank] { serve(rank); });
  }

  ~Workers() {
    {
      std::lock_guard<std::mutex> lock(mutex);
      stop = true;
      call++;
    }
    called.notify_all();
    for (std::thread &thread : threads)
      thread.join();
  }

  void serve(int rank) {
    long seen = 0;
    for (;;) {
      bool woken = false;
      for (int k = 0; k < kSpins && !woken; k++)
        woken = call.load(std::memory_order_acquire) != seen;
      if (!woken) {
        std::unique_lock<std::mutex> lock(mutex);
        called.wait(lock, [&] { return call.load() != seen; });
      }
      seen = call.load(std::memory_order_acquire);
      if (stop)
        return;
      (*work)(rank);
      running.fetch_sub(1, std::memory_order_release);
    }
  }

  std::vector<std::thread> threads;
  std::mutex mutex;
  std::condition_variable called;
  std::atomic<long> call{0}, round{0};
  std::atomic<int> running{0}, waiting{0};
  std::atomic<bool> stop{false};
  const std::function<void(int)> *work = nullptr;
};

Team::Team(int size) : size_(size) {}

Team::~Team() {
  if (process_ == long(getpid()))
    delete workers_;
}

Team::Workers *Team::workers() {
  if (process_ != long(getpid())) {
    process_ = long(getpid());
    workers_ = new Workers(size_);
  }
  return workers_;
}

void Team::run(const std::function<void(int)> &work) {
  if (size_ == 1) {
    work(0);
    return;
  }
  Workers &w = *workers();
  w.work = &work;
  w.running.store(size_ - 1, std::memory_order_relaxed);
  {
    std::lock_guard<std::mutex> lock(w.mutex);
    w.call.fetch_add(1, std::memory_order_release);
  }
  w.called.notify_all();
  work(0);
  spin([&] { return w.running.load(std::memory_order_acquire) == 0; });
}

void Team::wait() {
  if (size_ == 1)
    return;
  Workers &w = *workers_;
  const long round = w.round.load(std::memory_order_acquire);
  if (w.waiting.fetch_add(1, std::memory_order_acq_rel) == size_ - 1) {
    w.waiting.store(0, std::memory_order_relaxed);
    w.round.fetch_add(1, std::memory_order_release);
  } else {
    spin([&] { return w.round.load(std::memory_order_acquire) != round; });
  }
}

} // namespace mlff
