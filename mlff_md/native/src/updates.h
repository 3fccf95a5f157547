// What an atom does with its own features between two layers: invariants of its vectors and
// quadrupoles into its dense layers, gates out of them; and the reverse.
#pragma once

#include <string.h>

#include "simd.h"

namespace {

// Features of one atom, in chunks of W: vectors [3][W], quadrupoles [5][W]. `mixed` has two
// mixtures of the vectors, left and right, chunk by chunk: [2][3][W].
template <class Real, int W> struct AtomUpdate {
  typedef Simd<Real, W> S;
  typedef typename S::Vec Vec;

  int V, Q;
  Real norm_epsilon;

  // in [2 V + 2 Q]: features that do not turn with the atom. Kept: lengths of vectors, sizes of
  // quadrupoles.
  void invariants(const Real *mixed, const Real *turned, Real *length, Real *size, Real *in) const {
    const Real *left = mixed, *right = mixed + 3 * W;
    const Vec epsilon = S::all(norm_epsilon);
    for (int c = 0; c < V; c += W) {
      Vec square = epsilon, inner = {};
      for (int x = 0; x < 3; x++) {
        const Vec r = S::load(right + 6 * c + x * W);
        square += r * r;
        inner += r * S::load(left + 6 * c + x * W);
      }
      const Vec norm = S::sqrt(square);
      S::store(length + c, norm);
      S::store(in + c, norm);
      S::store(in + V + c, inner);
    }
    in += 2 * V;
    for (int c = 0; c < Q; c += W) {
      Vec t[5], p[3], q[3], square = epsilon, bent = {};
      load_turn(turned + 5 * c, left + 6 * c, t, p, q);
      for (int x = 0; x < 5; x++)
        square += t[x] * t[x];
      for (int x = 0; x < 3; x++)
        bent += q[x] * S::load(right + 6 * c + x * W);
      const Vec norm = S::sqrt(square);
      S::store(size + c, norm);
      S::store(in + c, norm);
      S::store(in + Q + c, bent);
    }
  }

  // Adds to the vectors v what the gates [V + Q] let through.
  void open_gates(const Real *mixed, const Real *turned, const Real *gates, Real *v) const {
    for (int c = 0; c < V; c += W)
      for (int x = 0; x < 3; x++)
        S::store(v + 3 * c + x * W,
                 S::load(v + 3 * c + x * W) + S::load(gates + c) * S::load(mixed + 6 * c + x * W));
    for (int c = 0; c < Q; c += W) {
      Vec t[5], p[3], q[3];
      load_turn(turned + 5 * c, mixed + 6 * c, t, p, q);
      for (int x = 0; x < 3; x++)
        S::store(v + 3 * c + x * W, S::load(v + 3 * c + x * W) + S::load(gates + V + c) * q[x]);
    }
  }

  // Adjoints of the gates, given those of the vectors.
  void gates_reverse(const Real *mixed, const Real *turned, const Real *gv, Real *bar) const {
    for (int c = 0; c < V; c += W) {
      Vec sum = {};
      for (int x = 0; x < 3; x++)
        sum += S::load(gv + 3 * c + x * W) * S::load(mixed + 6 * c + x * W);
      S::store(bar + c, sum);
    }
    for (int c = 0; c < Q; c += W) {
      Vec t[5], p[3], q[3], sum = {};
      load_turn(turned + 5 * c, mixed + 6 * c, t, p, q);
      for (int x = 0; x < 3; x++)
        sum += S::load(gv + 3 * c + x * W) * q[x];
      S::store(bar + V + c, sum);
    }
  }

  // Adjoints of the mixtures and of the turned quadrupoles from those of the invariants (bar) and
  // of the vectors (gv; null in the last layer, which has no gates).
  void reverse(const Real *mixed, const Real *turned, const Real *length, const Real *size,
               const Real *gates, const Real *gv, const Real *bar, Real *mixed_bar,
               Real *turned_bar) const {
    const Real *left = mixed, *right = mixed + 3 * W;
    for (int c = 0; c < V; c += W) {
      const Vec stretch = S::load(bar + c) / S::load(length + c);
      const Vec inner = S::load(bar + V + c);
      for (int x = 0; x < 3; x++) {
        const Vec l = S::load(left + 6 * c + x * W), r = S::load(right + 6 * c + x * W);
        Vec left_bar = inner * r;
        if (gv)
          left_bar += S::load(gv + 3 * c + x * W) * S::load(gates + c);
        S::store(mixed_bar + 6 * c + x * W, left_bar);
        S::store(mixed_bar + 6 * c + (3 + x) * W, inner * l + stretch * r);
      }
    }
    bar += 2 * V;
    for (int c = 0; c < Q; c += W) {
      Vec t[5], p[3], q[3], q_bar[3], back[3], t_bar[5];
      load_turn(turned + 5 * c, left + 6 * c, t, p, q);
      const Vec stretch = S::load(bar + c) / S::load(size + c);
      const Vec bent = S::load(bar + Q + c);
      for (int x = 0; x < 3; x++) {
        const Vec r = S::load(right + 6 * c + x * W);
        q_bar[x] = bent * r;
        if (gv)
          q_bar[x] += S::load(gv + 3 * c + x * W) * S::load(gates + V + c);
        Real *right_bar = mixed_bar + 6 * c + (3 + x) * W;
        S::store(right_bar, S::load(right_bar) + bent * q[x]);
      }
      S::turn(t, q_bar, back); // the matrix is symmetric
      S::turn_reverse(q_bar, p, t_bar);
      for (int x = 0; x < 3; x++) {
        Real *left_bar = mixed_bar + 6 * c + x * W;
        S::store(left_bar, S::load(left_bar) + back[x]);
      }
      for (int x = 0; x < 5; x++)
        S::store(turned_bar + 5 * c + x * W, t_bar[x] + stretch * t[x]);
    }
  }

private:
  void load_turn(const Real *turned, const Real *left, Vec t[5], Vec p[3], Vec q[3]) const {
    for (int x = 0; x < 5; x++)
      t[x] = S::load(turned + x * W);
    for (int x = 0; x < 3; x++)
      p[x] = S::load(left + x * W);
    S::turn(t, p, q);
  }
};

} // namespace
