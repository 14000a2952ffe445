package main

import (
	"tcptrace/tracer/event"
	"tcptrace/tracer/timeline"
	"tcptrace/tracer/verdict"
)

// answer is what the host said of a connection when it was asked, just before its verdict.
type answer struct {
	about answerKey
	host  verdict.Host
}

// answerKey is a connection; of a probe that has no kernel's view it is the cookie.
type answerKey struct {
	conn   event.ConnID
	cookie uint64
}

func keyOf(c *timeline.Connection, p *event.Probe) answerKey {
	if c != nil {
		return answerKey{conn: c.ID}
	}
	return answerKey{cookie: p.Cookie}
}

// inquireAll asks the host what verdicts that are about to be given would rest on. It does so before the first of them is
// given, as a replay gives them all as soon as it reads the first.
func (s *session) inquireAll(connections []*timeline.Connection, probes []*event.Probe) {
	for _, c := range connections {
		if !c.FarEnd() {
			s.inquire(c, nil)
		}
	}
	for _, p := range probes {
		s.inquire(s.probes.connection(p), p)
	}
}

// inquire asks about one connection, or a probe, or both.
func (s *session) inquire(c *timeline.Connection, p *event.Probe) {
	if s.ask == nil {
		return
	}
	facts := s.facts
	facts.Probe = p
	question := verdict.Ask(c, facts)
	if !question.Asks() {
		return
	}
	if host := s.ask(question); host != nil {
		s.handleAnswer(answer{keyOf(c, p), *host})
	}
}

// handleAnswer takes what the host said, for a verdict that follows.
func (s *session) handleAnswer(a answer) {
	s.answers[a.about] = &a.host
	s.say(func(out sink) { out.Answer(a) })
}

// answerAbout gives what the host said of a connection or a probe, and forgets it; nil: nothing.
func (s *session) answerAbout(c *timeline.Connection, p *event.Probe) *verdict.Host {
	key := keyOf(c, p)
	host := s.answers[key]
	delete(s.answers, key)
	return host
}
