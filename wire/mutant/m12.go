//go:build mutant_m12

package mutant

const active = 12
