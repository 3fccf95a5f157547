// SPDX-License-Identifier: GPL-2.0-or-later
// What LAMMPS calls when it loads the plugin.
#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <link.h>
#include <string>

#include "lammps.h"
#include "lammpsplugin_abi.h"
#include "lmptype.h"
#include "pair_mlff.h"
#include "pair_python.h"

// Given by mlff_md/lammps/plugin.py.
#ifndef MLFF_LAMMPS_VERSION
#define MLFF_LAMMPS_VERSION "?"
#endif
#ifndef MLFF_LAMMPS_BUILD
#define MLFF_LAMMPS_BUILD "" // the linker's build id of LAMMPS' library, in hexadecimal
#endif

// LAMMPS' C interface, which is the same in every version.
extern "C" {
int lammps_version(void *lammps);
int lammps_extract_setting(void *lammps, const char *name);
int lammps_has_style(void *lammps, const char *category, const char *name);
}

namespace {

// The build id of the program or library that holds an address; empty if it has none.
struct Search {
  ElfW(Addr) address;
  std::string id;
};

void read_notes(const char *note, const char *end, std::string *id) {
  while (note + sizeof(ElfW(Nhdr)) <= end) {
    const auto *head = reinterpret_cast<const ElfW(Nhdr) *>(note);
    const char *name = note + sizeof *head;
    const char *content = name + (head->n_namesz + 3) / 4 * 4;
    if (head->n_type == 3 && head->n_namesz == 4 && !std::memcmp(name, "GNU", 4))
      for (unsigned k = 0; k < head->n_descsz; k++) {
        char digits[3];
        std::snprintf(digits, sizeof digits, "%02x", (unsigned char)content[k]);
        *id += digits;
      }
    note = content + (head->n_descsz + 3) / 4 * 4;
  }
}

int look_into(dl_phdr_info *info, std::size_t, void *given) {
  auto *search = static_cast<Search *>(given);
  bool here = false;
  for (int k = 0; k < info->dlpi_phnum; k++) {
    const auto &part = info->dlpi_phdr[k];
    const ElfW(Addr) start = info->dlpi_addr + part.p_vaddr;
    here |= part.p_type == PT_LOAD && search->address - start < part.p_memsz;
  }
  for (int k = 0; here && k < info->dlpi_phnum; k++) {
    const auto &part = info->dlpi_phdr[k];
    if (part.p_type != PT_NOTE)
      continue;
    const auto *start = reinterpret_cast<const char *>(info->dlpi_addr + part.p_vaddr);
    read_notes(start, start + part.p_memsz, &search->id);
  }
  return here;
}

std::string build_of_lammps() {
  Search search = {reinterpret_cast<ElfW(Addr)>(&lammps_version), ""};
  dl_iterate_phdr(look_into, &search);
  return search.id;
}

// LAMMPS' classes differ from one version to the next, and a plugin for another one would crash:
// so until this has been answered, nothing but the C interface is used.
bool made_for(void *lammps) {
  const std::string wanted = MLFF_LAMMPS_BUILD, found = build_of_lammps();
  const bool same = wanted.empty() ? lammps_version(lammps) == MLFF_LAMMPS_NUMBER : found == wanted;
  const bool sizes = lammps_extract_setting(lammps, "bigint") == sizeof(LAMMPS_NS::bigint) &&
                     lammps_extract_setting(lammps, "tagint") == sizeof(LAMMPS_NS::tagint) &&
                     lammps_extract_setting(lammps, "imageint") == sizeof(LAMMPS_NS::imageint);
  if (same && sizes)
    return true;
  if (lammps_extract_setting(lammps, "universe_rank") == 0)
    std::fprintf(stderr,
                 "mlff-md: this plugin was compiled for LAMMPS %s (build %.12s), not for this one "
                 "(version %d, build %.12s): pair_style mlff is not available\n",
                 MLFF_LAMMPS_VERSION, wanted.c_str(), lammps_version(lammps), found.c_str());
  return false;
}

template <class Style> void *create(void *lammps) {
  return new Style(static_cast<LAMMPS_NS::LAMMPS *>(lammps));
}

} // namespace

extern "C" void lammpsplugin_init(void *lammps, void *handle, void *regfunc) {
  if (!made_for(lammps))
    return;
  const auto add = reinterpret_cast<lammpsplugin_regfunc>(regfunc);
  lammpsplugin_t plugin = {};
  plugin.version = static_cast<LAMMPS_NS::LAMMPS *>(lammps)->version;
  plugin.style = "pair";
  plugin.author = "mlff_md";
  plugin.handle = handle;
  // A second LAMMPS in the same process has the styles already.
  if (!lammps_has_style(lammps, "pair", "mlff")) {
    plugin.name = "mlff";
    plugin.info = "distilled machine-learning force fields";
    plugin.creator.v1 = create<mlff_plugin::PairMLFF>;
    add(&plugin, lammps);
  }
  if (!lammps_has_style(lammps, "pair", "python")) {
    plugin.name = "python";
    plugin.info = "mlff_md.lammps.Student, where LAMMPS has no PYTHON package";
    plugin.creator.v1 = create<mlff_plugin::PairPython>;
    add(&plugin, lammps);
  }
}
