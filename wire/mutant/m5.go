//go:build mutant_m5

package mutant

const active = 5
