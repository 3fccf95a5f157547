// SPDX-License-Identifier: MIT
#include "python_engine.h"

#include <cstdlib>
#include <dlfcn.h>

#include "python_process.h"

namespace mlff_plugin {

namespace {

// Looked up, not linked: the plugin loads where there is no Python at all.
template <class Function> Function *look_up(const char *name) {
  return reinterpret_cast<Function *>(dlsym(RTLD_DEFAULT, name));
}

// Python finds the packages of a virtual environment by its program's folder, and that by PATH.
class PathFirst {
public:
  explicit PathFirst(const std::string &executable) {
    const char *old = std::getenv("PATH");
    had_ = old != nullptr;
    old_ = had_ ? old : "";
    const std::string folder = executable.substr(0, executable.rfind('/'));
    setenv("PATH", (folder + ":" + old_).c_str(), 1);
  }
  ~PathFirst() {
    if (had_)
      setenv("PATH", old_.c_str(), 1);
    else
      unsetenv("PATH");
  }

private:
  bool had_;
  std::string old_;
};

std::string start_interpreter() {
  const char *path = std::getenv("MLFF_MD_LIBPYTHON");
  if (!path || !*path)
    return "this engine needs Python in LAMMPS' process: use the native engine, or run LAMMPS from "
           "Python (from lammps import lammps), or set MLFF_MD_LIBPYTHON to a libpython3.so";
  void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
  if (!library)
    return std::string("cannot load Python: ") + dlerror();
  auto *start = look_up<void(int)>("Py_InitializeEx");
  auto *release = look_up<void *()>("PyEval_SaveThread");
  if (!start || !release)
    return std::string(path) + " is not a Python library";
  const PathFirst path_first(python_executable());
  start(0);  // LAMMPS keeps its signal handlers
  release(); // whoever calls Python takes the lock anew
  return "";
}

} // namespace

std::string open_callback(Callback *callback) {
  auto *running = look_up<int()>("Py_IsInitialized");
  if (!running || !running()) {
    const std::string why = start_interpreter();
    if (!why.empty())
      return why;
  }
  auto *lock = look_up<int()>("PyGILState_Ensure");
  auto *unlock = look_up<void(int)>("PyGILState_Release");
  auto *run = look_up<int(const char *, void *)>("PyRun_SimpleStringFlags");
  if (!lock || !unlock || !run)
    return "the Python of this process hides its functions; use the native engine";
  const std::string code = "import mlff_md.lammps.callback as _mlff_md_callback\n"
                           "_mlff_md_callback.open_engine(" +
                           std::to_string(reinterpret_cast<std::uintptr_t>(callback)) + ")\n";
  const int state = lock();
  const int status = run(code.c_str(), nullptr);
  unlock(state);
  if (callback->error[0])
    return callback->error;
  if (status != 0 || !callback->evaluate)
    return "the Python of this process cannot import mlff_md; see the lines above";
  return "";
}

} // namespace mlff_plugin
