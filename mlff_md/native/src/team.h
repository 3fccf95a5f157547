// A few threads that run one function together and wait for each other inside it.
#pragma once

#include <functional>

namespace mlff {

class Team {
public:
  explicit Team(int size);
  ~Team();
  Team(const Team &) = delete;
  Team &operator=(const Team &) = delete;

  int size() const { return size_; }

  // Calls work(rank) for every rank, rank 0 on the calling thread, and returns when all are done.
  void run(const std::function<void(int)> &work);

  // To be called by all ranks inside run(): none goes on before all have come.
  void wait();

private:
  struct Workers;
  Workers *workers();

  const int size_;
  // Threads do not survive a fork, and what they wait on is left in their state: the child of a
  // fork leaves its parent's workers alone and starts its own.
  Workers *workers_ = nullptr;
  long process_ = 0;
};

} // namespace mlff
