package host

// Backlog is a queue of a device in which packets wait.
type Backlog struct {
	Device string
	Queue
}

// Backlog is where most packets wait of the device that the route leads to; the zero value: nowhere, or there is no route.
func (w *Way) Backlog() (Backlog, error) {
	if w.found == nil {
		return Backlog{}, nil
	}
	link, err := w.leadsTo()
	if err != nil {
		return Backlog{}, err
	}
	all, err := queues(link)
	if err != nil {
		return Backlog{}, err
	}
	var most Backlog
	for _, q := range all {
		if q.Waiting > most.Waiting {
			most = Backlog{link.Attrs().Name, q}
		}
	}
	return most, nil
}
