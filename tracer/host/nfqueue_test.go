package host

import (
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func nfqueueFile(text string) fstest.MapFS {
	return fstest.MapFS{"netfilter/nfnetlink_queue": {Data: []byte(text)}}
}

func TestNFQueues(t *testing.T) {
	for _, test := range []struct {
		name string
		dir  fstest.MapFS
		want []NFQueue
	}{
		{"a kernel without them", fstest.MapFS{}, nil},
		{"nobody listens", nfqueueFile(""), nil},
		{
			"as the kernel writes them", nfqueueFile("    5    213     4 2 65535     0     0        9  1\n65535 4294963001     0 1     0    17     3     1001  1\n"),
			[]NFQueue{{5, 213, 4, 0, 0}, {65535, 4294963001, 0, 17, 3}},
		},
	} {
		got, err := NFQueues(test.dir)
		if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", test.name, err, diff)
		}
	}
}

func TestDamagedNFQueuesAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"5 213\n":                  `"5 213" has too few columns`,
		"5 213 x 2 65535 0 0\n":    `"5 213 x 2 65535 0 0" has a column that is no number`,
		"5 213 4294967296 2 0 0 0": `"5 213 4294967296 2 0 0 0" has a column that is no number`,
	} {
		_, err := NFQueues(nfqueueFile(text))
		if want = "read /proc/net/netfilter/nfnetlink_queue: " + want; err == nil || err.Error() != want {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

func FuzzNFQueues(f *testing.F) {
	f.Add("    5    213     4 2 65535     0     0        9  1\n")
	f.Add("5 213\n")
	f.Fuzz(func(t *testing.T, text string) {
		if queues, err := NFQueues(nfqueueFile(text)); err != nil && queues != nil {
			t.Errorf("%v and %v", queues, err)
		}
	})
}
