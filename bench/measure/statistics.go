// Package measure runs contenders in turns, and makes figures of what they did.
package measure

import "slices"

// Median returns the middle of values, the mean of the two in the middle of an even number, and 0 of none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	if middle := len(sorted) / 2; len(sorted)%2 == 1 {
		return sorted[middle]
	} else {
		return (sorted[middle-1] + sorted[middle]) / 2
	}
}

// Quantile returns the smallest of values that is not below the share q of them, and the zero of none. It sorts values.
func Quantile[T ~int64 | ~float64](values []T, q float64) T {
	if len(values) == 0 {
		var none T
		return none
	}
	slices.Sort(values)
	return values[min(int(q*float64(len(values))), len(values)-1)]
}

// Ratios divides each of values by that of base in the same round. A round in which base is 0 is left out.
func Ratios(values, base []float64) []float64 {
	var ratios []float64
	for i, value := range values {
		if i < len(base) && base[i] != 0 {
			ratios = append(ratios, value/base[i])
		}
	}
	return ratios
}
