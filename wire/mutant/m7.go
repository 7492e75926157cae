//go:build mutant_m7

package mutant

const active = 7
