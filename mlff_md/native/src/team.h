// A few threads that run one function together and wait for each other inside it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace mlff {

class Team {
public:
  explicit Team(int size) : size_(size) {}
  ~Team();
  Team(const Team &) = delete;
  Team &operator=(const Team &) = delete;

  int size() const { return size_; }

  // Calls work(rank) for every rank, rank 0 on the calling thread, and returns when all are done.
  void run(const std::function<void(int)> &work);

  // To be called by all ranks inside run(): none goes on before all have come.
  void wait();

private:
  void start();

  const int size_;
  long process_ = 0; // threads do not survive a fork: they are started again in the child
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable called_;
  std::atomic<long> call_{0};
  std::atomic<int> running_{0}, waiting_{0};
  std::atomic<long> round_{0};
  bool stop_ = false;
  const std::function<void(int)> *work_ = nullptr;
};

} // namespace mlff
