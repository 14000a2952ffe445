package tracer

// SecondCopiesPassedBy is how often the kernel ran neither copy of a program at an event, or not the second when the first had
// done the work: it tells no difference.
func (t *Tracer) SecondCopiesPassedBy() (all uint64) {
	for _, l := range t.attacher.links {
		if l.copy == 0 {
			continue
		}
		if stats, err := l.program.Stats(); err == nil {
			all += stats.RecursionMisses
		}
	}
	return all
}
