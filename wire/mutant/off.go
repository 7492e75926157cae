//go:build !mutant_m1 && !mutant_m2 && !mutant_m3 && !mutant_m4 && !mutant_m5 && !mutant_m6 && !mutant_m7 && !mutant_m8 && !mutant_m12 && !mutant_m21

package mutant

const active = 0
