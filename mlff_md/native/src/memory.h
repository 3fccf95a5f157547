// Memory of the kernels: aligned, grown when needed, never a bad_alloc.
#pragma once

#include <stddef.h>
#include <stdlib.h>

namespace {

template <class T> class Buffer {
public:
  Buffer() = default;
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;
  ~Buffer() { free(data_); }

  // Grows without keeping the content; false if there is no memory.
  bool reserve(size_t count) {
    if (count <= size_ && data_)
      return true;
    free(data_);
    size_ = 0;
    const size_t wanted = count + count / 8 + 16;
    void *fresh = nullptr;
    data_ = nullptr;
    if (posix_memalign(&fresh, 64, wanted * sizeof(T)) != 0)
      return false;
    data_ = static_cast<T *>(fresh);
    size_ = wanted;
    return true;
  }
  T *get() const { return data_; }
  size_t bytes() const { return size_ * sizeof(T); }

private:
  T *data_ = nullptr;
  size_t size_ = 0;
};

} // namespace
