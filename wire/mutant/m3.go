//go:build mutant_m3

package mutant

const active = 3
