// Features and adjoints of the atoms of one structure, and what the reverse pass needs of the
// forward pass: all in one piece of memory.
#pragma once

#include "memory.h"

namespace {

// What a layer's reverse pass needs of its forward pass, per atom. The first layer sends nothing of
// its own: what it would send is in the model, by species.
template <class Real> struct Kept {
  Real *sent, *message_slope;
  Real *vectors, *quadrupoles;                 // before the layer
  Real *offered_vectors, *offered_quadrupoles; // times what was sent: what neighbors receive
  Real *mixed, *turned, *length, *size, *update_slope, *gates;
};

template <class Real> class AtomArrays {
public:
  explicit AtomArrays(int num_layers) : layers(new Kept<Real>[num_layers]) {}
  ~AtomArrays() { delete[] layers; }
  AtomArrays(const AtomArrays &) = delete;
  AtomArrays &operator=(const AtomArrays &) = delete;

  // False if there is no memory. Nothing is kept of an earlier structure.
  template <class Model> bool reserve(const Model &model, int64_t atoms) {
    Taker count = {nullptr, size_t(atoms), 0};
    place(model, count);
    if (!memory_.reserve(count.taken))
      return false;
    Taker take = {memory_.get(), size_t(atoms), 0};
    place(model, take);
    return true;
  }
  size_t bytes() const { return memory_.bytes(); }

  Kept<Real> *const layers;
  Real *h = nullptr, *v = nullptr, *t = nullptr; // scalars, vectors, quadrupoles
  Real *before = nullptr;                        // scalars before the layer at work
  Real *sent_bar = nullptr;                      // adjoints of what was sent
  Real *gh[2] = {}, *gv[2] = {}, *gt[2] = {};    // of the features; two sets serve layers in turn

private:
  // Hands out memory for `count` numbers per atom; counts only while there is none.
  struct Taker {
    Real *next;
    size_t atoms, taken;
    Real *operator()(int count) {
      Real *here = next ? next + taken : nullptr;
      taken += size_t(count) * atoms;
      return here;
    }
  };

  template <class Model> void place(const Model &model, Taker &take) {
    const int F = model.F, V = model.V, Q = model.Q, H = model.H;
    int most = 0;
    for (int l = 0; l < model.L; l++) {
      const int later = model.layer(l).first ? 0 : 1, sent = later * model.layer(l).sent;
      most = sent > most ? sent : most;
      Kept<Real> &k = layers[l];
      k.sent = take(sent);
      k.message_slope = take(later * H);
      k.vectors = take(later * 3 * V);
      k.quadrupoles = take(later * 5 * Q);
      k.offered_vectors = take(later * 3 * V);
      k.offered_quadrupoles = take(later * 5 * Q);
      k.mixed = take(6 * V);
      k.turned = take(5 * Q);
      k.length = take(V);
      k.size = take(Q);
      k.update_slope = take(H);
      k.gates = take(V + Q);
    }
    sent_bar = take(most);
    h = take(F);
    before = take(F);
    v = take(3 * V);
    t = take(5 * Q);
    for (int k = 0; k < 2; k++) {
      gh[k] = take(F);
      gv[k] = take(3 * V);
      gt[k] = take(5 * Q);
    }
  }

  Buffer<Real> memory_;
};

} // namespace
