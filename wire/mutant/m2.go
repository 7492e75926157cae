//go:build mutant_m2

package mutant

const active = 2
