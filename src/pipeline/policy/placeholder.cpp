namespace rluf {}
