// SPDX-License-Identifier: MIT
#include "python_process.h"

#include <cstdio>
#include <cstdlib>
#include <vector>

#ifndef MLFF_MD_PYTHON
#define MLFF_MD_PYTHON "python3"
#endif

namespace mlff_plugin {

namespace {

// For /bin/sh: nothing is special within single quotes, but they themselves.
std::string quoted(const std::string &text) {
  std::string result = "'";
  for (const char c : text)
    result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

std::vector<std::string> lines_of(const std::string &text) {
  std::vector<std::string> lines;
  std::string line;
  for (const char c : text)
    if (c == '\n') {
      lines.push_back(line);
      line.clear();
    } else if (c != '\r')
      line += c;
  if (!line.empty())
    lines.push_back(line);
  return lines;
}

} // namespace

std::string environment(const char *name, const char *otherwise) {
  const char *value = std::getenv(name);
  return value && *value ? value : otherwise;
}

std::string python_executable() { return environment("MLFF_MD_PYTHON", MLFF_MD_PYTHON); }

std::string run_packer(const std::string &student, PackedFiles *files) {
  const std::string python = python_executable();
  // LAMMPS may be reading its deck from stdin.
  const std::string command =
      quoted(python) + " -m mlff_md.lammps.pack -- " + quoted(student) + " < /dev/null";
  FILE *pipe = popen(command.c_str(), "r");
  if (!pipe)
    return "cannot start " + python;
  std::string output;
  char block[4096];
  while (const std::size_t got = std::fread(block, 1, sizeof block, pipe))
    output.append(block, got);
  const int status = pclose(pipe);
  const std::vector<std::string> lines = lines_of(output);
  for (const std::string &line : lines)
    if (line.rfind("error: ", 0) == 0)
      return line.substr(7);
  if (status != 0 || lines.empty())
    return python + " -m mlff_md.lammps.pack failed; set MLFF_MD_PYTHON to a Python that has "
                    "mlff-md installed";
  files->student = lines[0];
  files->kernel = lines.size() > 1 ? lines[1] : "";
  return "";
}

} // namespace mlff_plugin
