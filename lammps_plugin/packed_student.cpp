// SPDX-License-Identifier: MIT
#include "packed_student.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

namespace mlff_plugin {

namespace {

constexpr char kMagic[] = "MLFFPACK";
constexpr std::int32_t kFormat = 2;
constexpr std::int64_t kLongest = 1 << 28; // numbers in an array: no student is near it

// Takes one item after the other; past the end it gives zeros and remembers it.
class Reader {
public:
  explicit Reader(const std::vector<char> &content) : content_(content) {}

  template <class T> T take() {
    T value = {};
    if (const char *from = skip(sizeof(T)))
      std::memcpy(&value, from, sizeof(T));
    return value;
  }
  template <class T> const T *array(std::int64_t count) {
    return reinterpret_cast<const T *>(skip(std::size_t(count) * sizeof(T)));
  }
  std::string text(std::size_t size) {
    const char *from = skip(size);
    return from ? std::string(from, strnlen(from, size)) : std::string();
  }
  const char *skip(std::size_t size) {
    if (size > content_.size() - at_) {
      ok_ = false;
      return nullptr;
    }
    at_ += size;
    return content_.data() + at_ - size;
  }
  std::size_t at() const { return at_; }
  bool ok() const { return ok_; }

private:
  const std::vector<char> &content_;
  std::size_t at_ = 0;
  bool ok_ = true;
};

std::uint64_t hash(const char *from, std::size_t size) {
  std::uint64_t value = 0xcbf29ce484222325u;
  for (std::size_t k = 0; k + 8 <= size; k += 8) {
    std::uint64_t word;
    std::memcpy(&word, from + k, 8);
    value = (value ^ word) * 0x100000001b3u;
  }
  return value;
}

} // namespace

int PackedStudent::find(const std::string &symbol) const {
  for (std::size_t k = 0; k < elements.size(); k++)
    if (elements[k] == symbol)
      return int(k);
  return -1;
}

double PackedStudent::mass(const std::string &symbol) const {
  for (const auto &[element, value] : masses)
    if (element == symbol)
      return value;
  return 0.0;
}

bool is_packed(const std::string &path) {
  std::unique_ptr<FILE, int (*)(FILE *)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  char magic[8] = {};
  return file && std::fread(magic, 1, 8, file.get()) == 8 && !std::memcmp(magic, kMagic, 8);
}

std::string read_file(const std::string &path, std::vector<char> *content) {
  std::unique_ptr<FILE, int (*)(FILE *)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!file)
    return "cannot read " + path + ": " + std::strerror(errno);
  content->clear();
  char block[1 << 16];
  while (const std::size_t got = std::fread(block, 1, sizeof block, file.get()))
    content->insert(content->end(), block, block + got);
  return std::ferror(file.get()) ? "cannot read " + path : "";
}

std::string parse(std::vector<char> given, PackedStudent *out) {
  PackedStudent s;
  s.content = std::move(given);
  Reader in(s.content);
  if (in.text(8) != kMagic)
    return "this is not a packed student";
  const auto format = in.take<std::int32_t>(), abi = in.take<std::int32_t>();
  if (format != kFormat || abi != MLFF_NATIVE_ABI)
    return "this student was packed by another version of mlff-md; pack it again";
  const std::string damaged = "the packed student is damaged; pack it again";

  mlff_student &p = s.spec;
  p.abi = abi;
  for (std::int32_t *size : {&p.hidden, &p.vectors, &p.quadrupoles, &p.layers, &p.num_rbf, &p.knots,
                             &p.mlp, &p.readout, &p.species})
    if ((*size = in.take<std::int32_t>()) < 1)
      return damaged;
  in.take<std::int32_t>();
  for (double *number : {&p.cutoff_A, &p.neighbor_norm, &p.norm_epsilon, &p.energy_scale_eV,
                         &p.grid_start_A, &p.floor_end, &p.floor_width, &s.shortest_A})
    *number = in.take<double>();
  std::int64_t lengths[4];
  for (std::int64_t &length : lengths)
    if ((length = in.take<std::int64_t>()) < 0 || length > kLongest)
      return damaged;
  const std::int64_t kinds = p.species;
  if (lengths[0] != kinds || lengths[1] != 3 * kinds * kinds ||
      lengths[2] != (p.knots - std::int64_t(1)) * 4 * (p.num_rbf + std::int64_t(1)))
    return damaged;
  s.sha256 = in.text(64);
  s.name = in.text(64);
  for (std::int64_t k = 0; k < kinds && in.ok(); k++)
    s.elements.push_back(in.text(8));
  const auto known = in.take<std::int64_t>();
  for (std::int64_t k = 0; k < known && in.ok(); k++) {
    const std::string symbol = in.text(8);
    s.masses.emplace_back(symbol, in.take<double>());
  }
  p.atomic_energies_eV = in.array<double>(lengths[0]);
  p.prior = in.array<double>(lengths[1]);
  p.splines = in.array<double>(lengths[2]);
  p.weights = in.array<float>(lengths[3]);
  p.num_weights = lengths[3];
  in.skip((8 - in.at() % 8) % 8);
  const auto has_domain = in.take<std::int64_t>(), width = in.take<std::int64_t>();
  if (width != 0 && width != p.hidden)
    return damaged;
  if (has_domain) {
    s.domain.species = kinds;
    s.domain.shortest_A = in.array<double>(kinds * kinds);
  }
  if (has_domain && width) {
    s.domain.width = width;
    s.domain.low_eV = in.array<double>(kinds);
    s.domain.high_eV = in.array<double>(kinds);
    s.domain.limit = in.take<double>();
    s.domain.mean = in.array<float>(kinds * width);
    s.domain.whitener = in.array<float>(kinds * width * width);
    in.skip((8 - in.at() % 8) % 8);
  }
  const std::size_t end = in.at();
  if (!in.ok() || in.take<std::uint64_t>() != hash(s.content.data(), end) || !in.ok() ||
      in.at() != s.content.size())
    return damaged;
  *out = std::move(s); // moving a vector leaves its elements where they are
  return "";
}

} // namespace mlff_plugin
