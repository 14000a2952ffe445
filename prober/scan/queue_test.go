package scan

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestQueueGivesBackInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		var pushed, popped uint32
		for _, push := range rapid.SliceOfN(rapid.Bool(), 0, 5000).Draw(t, "pushes") {
			if push {
				pushed++
				q.push(waiting{serial: pushed})
				continue
			}
			first, ok := q.first()
			if ok != (popped < pushed) || ok && first.serial != popped+1 {
				t.Fatalf("after %d in and %d out: %+v, %v", pushed, popped, first, ok)
			}
			if ok {
				q.drop()
				popped++
			}
		}
	})
}

func TestQueueDoesNotGrowWithWhatHasLeft(t *testing.T) {
	var q queue
	for n := range uint32(100000) {
		q.push(waiting{serial: n})
		q.drop()
	}
	blocks := 0
	for _, list := range []*queueBlock{q.oldest, q.spare} {
		for block := list; block != nil; block = block.next {
			blocks++
		}
	}
	if blocks > 2 {
		t.Errorf("an empty queue holds %d blocks", blocks)
	}
}

func TestPacerKeepsItsRate(t *testing.T) {
	p := pacer{interval: 10 * time.Millisecond}
	began := 0
	for now := time.Duration(0); now < time.Second; now += time.Millisecond {
		if p.due(now) {
			began++
		}
	}
	if began != 100 {
		t.Errorf("%d began in a second; want 100", began)
	}
}

func TestPacerDoesNotMakeUpForALongPause(t *testing.T) {
	p := pacer{interval: time.Millisecond}
	p.due(0)
	began := 0
	for p.due(time.Minute) {
		began++
	}
	if began > 10 {
		t.Errorf("%d began at once after a pause; want no more than a few", began)
	}
}

func TestPacerOfNothingLetsAllBegin(t *testing.T) {
	var p pacer
	for range 1000 {
		if !p.due(0) {
			t.Fatal("it holds something back")
		}
	}
}
