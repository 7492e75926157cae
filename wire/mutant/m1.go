//go:build mutant_m1

package mutant

const active = 1
