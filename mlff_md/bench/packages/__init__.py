"""Other packages' force fields as ASE calculators; the packages are imported on call only."""
