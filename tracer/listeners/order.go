package listeners

import (
	"cmp"
	"slices"
)

// Sort puts those with warnings first, by the worst of them, then those whose accept queue is the fullest; among equals,
// namespaces, ports and addresses decide.
func Sort(all []*Listener) {
	slices.SortStableFunc(all, func(a, b *Listener) int {
		return cmp.Or(
			cmp.Compare(a.rank(), b.rank()),
			-cmp.Compare(a.fill(), b.fill()),
			cmp.Compare(a.NetNS, b.NetNS),
			cmp.Compare(a.Local.Port(), b.Local.Port()),
			a.Local.Compare(b.Local),
			cmp.Compare(a.Owner.PID, b.Owner.PID),
			cmp.Compare(a.Inode, b.Inode),
		)
	})
}

// fill is what part of the accept queue is taken.
func (l *Listener) fill() float64 {
	q := l.Accept()
	return float64(q.Len) / float64(q.Max+1)
}
