//go:build mutant_m8

package mutant

const active = 8
