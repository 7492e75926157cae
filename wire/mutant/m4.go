//go:build mutant_m4

package mutant

const active = 4
