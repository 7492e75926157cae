//go:build mutant_m6

package mutant

const active = 6
