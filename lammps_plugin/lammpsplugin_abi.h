// SPDX-License-Identifier: MIT
// What LAMMPS' plugin loader expects of a plugin: the binary interface of its `plugin` command.
// LAMMPS does not install a header for it.
#pragma once

extern "C" {

struct lammpsplugin_t {
  const char *version; // of the LAMMPS that it was compiled for
  const char *style;   // "pair"
  const char *name;    // as in pair_style NAME
  const char *info;
  const char *author;
  union {
    void *(*v1)(void *lammps); // creator of a pair, fix ... style
    void *(*v2)(void *lammps, int narg, char **arg);
  } creator;
  void *handle; // as given to lammpsplugin_init
};

typedef void (*lammpsplugin_regfunc)(lammpsplugin_t *plugin, void *lammps);

// Called by LAMMPS for each instance that loads the plugin.
__attribute__((visibility("default"))) void lammpsplugin_init(void *lammps, void *handle,
                                                              void *regfunc);
}
