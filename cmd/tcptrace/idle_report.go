package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"tcptrace/tracer/timeline"
)

// idleReport tells how a search for an idle limit goes, and what it comes to.
type idleReport struct {
	out      *output
	json     bool
	quiet    bool
	paint    painter
	app      *app
	trials   *idleTrials
	began    time.Time
	progress progress
}

func newIdleReport(a *app, flags *outputFlags, quiet bool, trials *idleTrials) *idleReport {
	r := &idleReport{out: a.stdout, json: flags.Format == formatJSON, quiet: quiet, paint: flags.painter(a.stdout), app: a, trials: trials,
		began: time.Now(), progress: newProgress(a.stderr)}
	if !r.json && !quiet {
		by := "a keepalive probe"
		if trials.send {
			by = "data"
		}
		fmt.Fprintf(r.out, "%d connections to %v, idle for %s to %s; then %s says which still work\n", len(trials.times), trials.remote,
			timeline.FormatDuration(trials.times[0]), timeline.FormatDuration(trials.times[len(trials.times)-1]), by)
		r.out.Flush()
	}
	return r
}

// waiting shows a person what the wait is for.
func (r *idleReport) waiting(ended, open int) {
	now := time.Since(r.began)
	for _, idle := range r.trials.times {
		if idle > now {
			r.progress.show("%d of %d known; the next idle time is over in %s", ended, ended+open, timeline.FormatDuration((idle - now).Round(time.Second)))
			return
		}
	}
	r.progress.show("%d of %d known; waiting for the last answer", ended, ended+open)
}

// fateWords say what became of a connection.
var fateWords = map[fate]struct {
	words string
	tone  tone
}{
	fateSurvived:  {"still works", good},
	fateSilent:    {"dead: nothing comes back", bad},
	fateReset:     {"dead: a RST comes back", bad},
	fateClosed:    {"closed by the peer", warning},
	fateFailed:    {"dead", bad},
	fateUnreached: {"did not connect", bad},
}

// tell writes what became of one connection.
func (r *idleReport) tell(t idleTrial) {
	if r.json {
		r.app.printLine(encodeIdleTrial(t))
		r.out.Flush()
		return
	}
	if r.quiet {
		return
	}
	r.progress.clear()
	form := fateWords[t.fate]
	details := stated(form.words, prefixed("after ", duration(t.held)), t.errno.String())
	fmt.Fprintf(r.out, "  idle %-8s  %s\n", timeline.FormatDuration(t.idle), r.paint.paint(form.tone, strings.Join(details, "  ")))
	r.out.Flush()
}

// conclude writes what all connections come to.
func (r *idleReport) conclude(l idleLimit) {
	if r.json {
		r.app.printLine(encodeIdleLimit(l))
		return
	}
	mark, headline := l.headline()
	fmt.Fprintln(r.out, r.paint.paint(mark.tone, mark.sign+" "+headline))
	for _, advice := range l.advice() {
		printParagraph(r.out, "  → ", advice)
	}
	if l.isMixed() {
		printParagraph(r.out, "  ? ", "a connection that was idle for longer still worked: something else than the idle time ended the other one, or there is "+
			"more than one way to the peer")
	}
}

// headline is the answer in one sentence.
func (l *idleLimit) headline() (mark, string) {
	survivor, loss := l.lastSurvivor(), l.firstLoss()
	switch {
	case survivor == nil && loss == nil:
		return outcomeMarks[""], "nothing is known yet: no connection has been idle for long enough"
	case loss == nil:
		return mark{"✓", good}, fmt.Sprintf("no idle limit up to %s: every connection still worked", timeline.FormatDuration(survivor.idle))
	case loss.fate == fateUnreached:
		return mark{"✗", bad}, "no more could be found out: a connection could not be made, " + cmp.Or(loss.errno.String(), "nothing came back")
	case loss.fate == fateClosed && loss.held != 0:
		return mark{"✗", bad}, fmt.Sprintf("the peer itself closes connections that are idle for %s", timeline.FormatDuration(loss.held))
	case loss.fate == fateReset && loss.held != 0:
		return mark{"✗", bad}, fmt.Sprintf("connections that are idle for %s are reset", timeline.FormatDuration(loss.held))
	case survivor == nil || survivor.idle > loss.idle:
		return mark{"✗", bad}, fmt.Sprintf("the idle limit is below %s: %s", timeline.FormatDuration(loss.idle), loss.how())
	}
	return mark{"✗", bad}, fmt.Sprintf("the idle limit is between %s and %s: %s", timeline.FormatDuration(survivor.idle),
		timeline.FormatDuration(loss.idle), loss.how())
}

// how is the way in which an idle connection was lost.
func (t *idleTrial) how() string {
	switch t.fate {
	case fateSilent:
		return "after that nothing comes back any more"
	case fateReset:
		return "after that the answer is a RST"
	case fateClosed:
		return "after that the peer closes it"
	}
	return "after that it ends with " + t.errno.String()
}

// advice says what to do about a limit.
func (l *idleLimit) advice() []string {
	survivor, loss := l.lastSurvivor(), l.firstLoss()
	if loss == nil {
		return nil
	}
	switch loss.fate {
	case fateClosed:
		return []string{"that is a setting of the peer's application: keepalive does not change it, requests do"}
	case fateUnreached:
		return []string{"see why: tcptrace connect " + loss.probe.Target}
	case fateFailed:
		return []string{"see why: sudo tcptrace keepalive --keepalive-idle " + loss.idle.String() + " " + loss.probe.Target}
	}
	who := "something on the way (a NAT, a firewall, a load balancer) forgets idle connections, and drops what comes for them without a word"
	if loss.fate == fateReset {
		who = "something on the way (a load balancer, a firewall), or the peer's host, has forgotten the connection and says so"
	}
	if survivor == nil || survivor.idle > loss.idle {
		return []string{who, "try shorter times: --find-idle-limit 1s.." + loss.idle.String()}
	}
	idle := max(survivor.idle/2, time.Second).Truncate(time.Second)
	return []string{who, fmt.Sprintf("keep connections busier than that: SO_KEEPALIVE with TCP_KEEPIDLE %d (half of what still worked), or, for "+
		"programs that set SO_KEEPALIVE and no times, sysctl -w net.ipv4.tcp_keepalive_time=%[1]d", idle/time.Second)}
}

// The types of the lines of a search for an idle limit.
const (
	typeIdle      = "idle"
	typeIdleLimit = "idle_limit"
)

// The lines of a search for an idle limit in JSON.
type idleTrialLine struct {
	Type   string  `json:"type"`
	IdleMS float64 `json:"idle_ms"`
	Fate   string  `json:"fate"`
	HeldMS float64 `json:"held_ms,omitempty"`
	Errno  string  `json:"errno,omitempty"`
	Local  string  `json:"local,omitempty"`
	Remote string  `json:"remote,omitempty"`
}

// idleLimitLine has no survived_ms where no connection survived, and no lost_ms where none was lost.
type idleLimitLine struct {
	Type       string   `json:"type"`
	SurvivedMS *float64 `json:"survived_ms,omitempty"`
	LostMS     *float64 `json:"lost_ms,omitempty"`
	Fate       string   `json:"fate,omitempty"` // of the first that was lost
	Mixed      bool     `json:"mixed,omitempty"`
	Summary    string   `json:"summary"`
	Advice     []string `json:"advice,omitempty"`
}

func encodeIdleTrial(t idleTrial) idleTrialLine {
	line := idleTrialLine{Type: typeIdle, IdleMS: milliseconds(t.idle), Fate: fateNames[t.fate], HeldMS: milliseconds(t.held), Errno: t.errno.String(),
		Remote: t.probe.Remote.String()}
	if t.probe.Local.IsValid() {
		line.Local = t.probe.Local.String()
	}
	return line
}

func encodeIdleLimit(l idleLimit) idleLimitLine {
	_, summary := l.headline()
	line := idleLimitLine{Type: typeIdleLimit, Summary: summary, Advice: l.advice(), Mixed: l.isMixed()}
	if survivor := l.lastSurvivor(); survivor != nil {
		ms := milliseconds(survivor.idle)
		line.SurvivedMS = &ms
	}
	if loss := l.firstLoss(); loss != nil {
		ms := milliseconds(loss.idle)
		line.LostMS, line.Fate = &ms, fateNames[loss.fate]
	}
	return line
}
