//go:build mutant_m21

package mutant

const active = 21
