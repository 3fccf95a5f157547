"""Observables of a run of MD, reduced so that the runs of two force fields can be compared.

Each observable turns the frames of one run into an array of a fixed shape and says how large a
difference of two such arrays is, in a unit that the field uses: see
:class:`mlff_md.protocols.observables.base.Observable`. :mod:`mlff_md.paired` does the statistics.
"""
