package scan

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// Merge drops all but the first of targets that have the same address and port, and says how many went. The order stays;
// the list is changed in place. A label that the first lacks is taken from the others.
func Merge(targets []Target) (merged []Target, duplicates int) {
	// By sorting rather than by a map, which would take more memory than the targets themselves.
	order := make([]int32, len(targets))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(targets[a].Addr.Compare(targets[b].Addr), cmp.Compare(a, b))
	})
	drop := make([]bool, len(targets))
	first := 0
	for i := 1; i < len(order); i++ {
		kept, next := &targets[order[first]], &targets[order[i]]
		if kept.Addr != next.Addr {
			first = i
			continue
		}
		drop[order[i]] = true
		kept.Label = cmp.Or(kept.Label, next.Label)
	}
	merged = targets[:0]
	for i, target := range targets {
		if !drop[i] {
			merged = append(merged, target)
		}
	}
	return merged, len(drop) - len(merged)
}

// Shuffle puts targets into an order that is random, but the same for the same seed.
func Shuffle(targets []Target, seed uint64) {
	random := rand.New(rand.NewPCG(seed, seed))
	random.Shuffle(len(targets), func(i, j int) { targets[i], targets[j] = targets[j], targets[i] })
}
