package counters

// Change is how much a counter has grown from one reading to another. The kernel's numbers wrap: those of softnet_stat
// at 32 bits, the others at 64.
func Change(key Key, before, now Values) int64 {
	change := now[key] - before[key]
	if key.Group == groupSoftnet && !key.Gauge() && change < 0 {
		change += 1 << 32
	}
	return change
}
