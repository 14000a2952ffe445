package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/prober"
)

// closeLabs are about how established connections end.
var closeLabs = []Lab{
	{
		Name:    "closed-awaiting-reply",
		Summary: "The application's timeout ends a connection on which the server still owes an answer.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The client connects, and asks something. The server's kernel acknowledges it; its application never answers.",
			"After 1.5 seconds the client has waited enough, and closes.",
			"Look at who is slow: the data was acknowledged at once, so neither the network nor the server's kernel is.",
		},
		Expect: "closed_awaiting_reply",
		Build:  builder(buildClosedAwaitingReply).on(siteV4),
		ipv6:   builder(buildClosedAwaitingReply).on(siteV6),
	},
	{
		Name:    "closed-by-peer",
		Summary: "An orderly end that the server begins.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The client connects, asks something and gets its answer. Then the server closes, and so does the client.",
			"Look at whose FIN comes first: the server's. The client ends in LAST_ACK, and keeps no TIME_WAIT.",
		},
		Expect: "closed_by_peer",
		Build:  builder(buildClosedByPeer).on(siteV4),
		ipv6:   builder(buildClosedByPeer).on(siteV6),
	},
	{
		Name:    "closed-locally",
		Summary: "An orderly end that the client begins.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"An application on the client connects, asks something, gets its answer, and closes. So does the server.",
			"Look at whose FIN comes first: the client's. It keeps the ports in TIME_WAIT for a minute.",
		},
		Expect: "closed_locally",
		Build:  builder(buildClosedLocally).on(siteV4),
		ipv6:   builder(buildClosedLocally).on(siteV6),
	},
	{
		Name:    "half-closed",
		Summary: "The client closes its side and goes on reading; the server's side stays open for 1.5 seconds more.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"An application on the client connects, asks something, and closes its side only (shutdown): it has nothing more to say.",
			"The server answers after 1.5 seconds, and closes.",
			"Look at the state FIN_WAIT2 and how long it lasts: a connection that is half-closed is alive.",
		},
		Expect: "closed_locally",
		Build:  builder(buildHalfClosed).on(siteV4),
		ipv6:   builder(buildHalfClosed).on(siteV6),
	},
	{
		Name:    "half-closed-by-peer",
		Summary: "The server closes its side; the client does not follow for 1.5 seconds, as one that leaks sockets.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"An application on the client connects, asks something and gets its answer. Then the server closes its side.",
			"The application takes its time: it closes 1.5 seconds later.",
			"Look at the state CLOSE_WAIT and how long it lasts: it ends when the application closes, and never before.",
		},
		Expect: "closed_by_peer",
		Build:  builder(buildHalfClosedByPeer).on(siteV4),
		ipv6:   builder(buildHalfClosedByPeer).on(siteV6),
	},
	{
		Name:    "reset-by-middlebox",
		Summary: "A router on the way resets the connection in the server's name when the client says something.",
		Steps: []string{
			"A client (192.0.2.1) reaches a server (198.51.100.10) through a router. The server listens, and would answer.",
			"The router passes the handshake on. What says something to port 443 it answers by itself, with a reset whose source address is the server's.",
			"The client connects, and asks something.",
			"Look at the TTLs: the SYN-ACK has passed a router and comes with 63 (-v shows it), the reset with 64. The server has not sent it, and keeps its end open.",
		},
		Expect: "reset_by_peer",
		Build:  builder(buildResetByMiddlebox).on(siteV4),
		ipv6:   builder(buildResetByMiddlebox).on(siteV6),
	},
	{
		Name:    "reset-by-peer",
		Summary: "The server's application closes without having read what the client sent: a reset.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The client connects, and asks something. The server's application closes without reading it.",
			"Look at the reset: the server's kernel sends it instead of a FIN, because data is lost (TCPAbortOnClose). The client gets ECONNRESET.",
		},
		Expect: "reset_by_peer",
		Build:  builder(buildResetByPeer).on(siteV4),
		ipv6:   builder(buildResetByPeer).on(siteV6),
	},
	{
		Name:    "reset-by-peer-mid-conversation",
		Summary: "The server answers once, and then aborts (SO_LINGER 0), as when its process is thrown out.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"The client connects, asks something and gets its answer. Then the server's application closes with SO_LINGER 0, which is a reset.",
			"Look at the reset: it comes between two questions, when nothing was unread.",
		},
		Expect: "reset_by_peer",
		Build:  builder(buildResetMidConversation).on(siteV4),
		ipv6:   builder(buildResetMidConversation).on(siteV6),
	},
	{
		Name:    "reset-locally",
		Summary: "The client's application closes with SO_LINGER 0: its own kernel resets the connection.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"An application on the client connects, asks something, gets its answer, and closes with SO_LINGER 0.",
			"Look at the reset, and who sends it: this side. There is no FIN and no TIME_WAIT, which is why some do it.",
		},
		Expect: "reset_locally",
		Build:  builder(buildResetLocally).on(siteV4),
		ipv6:   builder(buildResetLocally).on(siteV6),
	},
	{
		Name:    "reset-locally-unread",
		Summary: "The client's application closes without having read the answer: its own kernel resets the connection.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"An application on the client connects and asks something. When the answer has come, it closes without reading it.",
			"Look at the reset: the application has only closed, and its kernel says to the server that data was lost (TCPAbortOnClose).",
		},
		Expect: "reset_locally",
		Build:  builder(buildResetLocallyUnread).on(siteV4),
		ipv6:   builder(buildResetLocallyUnread).on(siteV6),
	},
	{
		Name:    "simultaneous-close",
		Summary: "Both sides close at the same moment: their FINs cross.",
		Steps: []string{
			"A client (192.0.2.1) and a server (192.0.2.10) are joined by one link.",
			"An application on the client connects, asks something, gets its answer, and closes. While its FIN is on the way, the server closes, too.",
			"Look at the state CLOSING, which nothing else leads to: each side gets a FIN that does not acknowledge its own.",
		},
		Expect: "closed_locally",
		Build:  builder(buildSimultaneousClose).on(siteV4),
		ipv6:   builder(buildSimultaneousClose).on(siteV6),
	},
}

// halfClosedFor is how long one side alone has closed.
const halfClosedFor = 1500 * time.Millisecond

func buildClosedAwaitingReply(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, _, err := s.serving(ctx, n)
	if err != nil {
		return nil, err
	}
	options := prober.Options{Send: question, Expect: question, Timeout: 1500 * time.Millisecond}
	return &Scene{Client: client, Targets: []string{s.service().String()}, Options: options}, nil
}

func buildClosedByPeer(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildServed(ctx, n, s, answerOnce, prober.Options{
		Send: question, Expect: question, Then: []prober.Step{prober.Hold{}},
	})
}

func buildResetByPeer(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildServed(ctx, n, s, ignoreRequest, prober.Options{Send: question, Expect: question})
}

func buildResetByMiddlebox(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, router, server, err := s.routed(ctx, n)
	if err != nil {
		return nil, err
	}
	if err := server.Listen(s.farService()); err != nil {
		return nil, err
	}
	if err := router.ResetForward(servicePort); err != nil {
		return nil, err
	}
	options := prober.Options{Send: question, Expect: question}
	return &Scene{Client: client, Targets: []string{s.farService().String()}, Options: options}, nil
}

func buildResetMidConversation(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildServed(ctx, n, s, answerAndAbort, prober.Options{
		Send: question, Expect: question, Then: []prober.Step{prober.Hold{}},
	})
}

// buildServed has a server deal with its connections in a certain way.
func buildServed(ctx context.Context, n *Network, s site, handle func(*net.TCPConn),
	options prober.Options) (*Scene, error) {
	client, server, err := s.direct(ctx, n)
	if err != nil {
		return nil, err
	}
	if _, err := server.serve(s.service(), 0, handle); err != nil {
		return nil, err
	}
	return &Scene{Client: client, Targets: []string{s.service().String()}, Options: options}, nil
}

// ignoreRequest waits for a request, and does not read it.
func ignoreRequest(conn *net.TCPConn) { _ = awaitData(conn) }

// answerAndAbort answers one request, and has the close be a reset. That could overtake the answer, so it waits until the
// answer is acknowledged.
func answerAndAbort(conn *net.TCPConn) {
	answerOnce(conn)
	for {
		if queued, err := sendQueue(conn); err != nil || queued == 0 {
			break
		}
		rest(conn, settlePause)
	}
	_ = conn.SetLinger(0)
}

// answerLater answers when its peer has closed its side, and takes its time.
func answerLater(conn *net.TCPConn) {
	request, err := io.ReadAll(conn)
	if err != nil {
		return
	}
	rest(conn, halfClosedFor)
	_, _ = conn.Write(request)
}

// rest does nothing for a while, or until the connection is closed on this side.
func rest(conn *net.TCPConn, d time.Duration) {
	raw, err := conn.SyscallConn()
	if err != nil || conn.SetReadDeadline(time.Now().Add(d)) != nil {
		return
	}
	_ = raw.Read(func(uintptr) bool { return false })
}

// awaitData waits until a connection has something to read, and leaves it there.
func awaitData(conn *net.TCPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var peeked error
	err = raw.Read(func(fd uintptr) bool {
		_, _, peeked = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK)
		return !errors.Is(peeked, unix.EAGAIN)
	})
	return errors.Join(err, peeked)
}

func buildClosedLocally(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildApplication(ctx, n, s, echo, func(_ context.Context, conn *net.TCPConn) error { return ask(conn) })
}

func buildResetLocally(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildApplication(ctx, n, s, echo, func(_ context.Context, conn *net.TCPConn) error {
		if err := ask(conn); err != nil {
			return err
		}
		return conn.SetLinger(0)
	})
}

func buildResetLocallyUnread(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildApplication(ctx, n, s, echo, func(_ context.Context, conn *net.TCPConn) error {
		if _, err := conn.Write(question); err != nil {
			return err
		}
		return awaitData(conn)
	})
}

func buildHalfClosed(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildApplication(ctx, n, s, answerLater, func(_ context.Context, conn *net.TCPConn) error {
		if _, err := conn.Write(question); err != nil {
			return err
		}
		if err := conn.CloseWrite(); err != nil {
			return err
		}
		return hear(io.ReadAll(conn))
	})
}

func buildHalfClosedByPeer(ctx context.Context, n *Network, s site) (*Scene, error) {
	return buildApplication(ctx, n, s, answerOnce, func(ctx context.Context, conn *net.TCPConn) error {
		if _, err := conn.Write(question); err != nil {
			return err
		}
		if err := hear(io.ReadAll(conn)); err != nil {
			return err
		}
		return pause(ctx, halfClosedFor)
	})
}

// ask asks something and gets its echo.
func ask(conn *net.TCPConn) error {
	if _, err := conn.Write(question); err != nil {
		return err
	}
	answer := make([]byte, len(question))
	_, err := io.ReadFull(conn, answer)
	return hear(answer, err)
}

// hear says what is wrong with an answer.
func hear(answer []byte, err error) error {
	if err == nil && string(answer) != string(question) {
		return fmt.Errorf("the answer to %q is %q", question, answer)
	}
	return err
}

// buildApplication has an application on the client use a connection, and close it.
func buildApplication(ctx context.Context, n *Network, s site, handle func(*net.TCPConn),
	use func(context.Context, *net.TCPConn) error) (*Scene, error) {
	client, server, err := s.direct(ctx, n)
	if err != nil {
		return nil, err
	}
	service, err := server.serve(s.service(), 0, handle)
	if err != nil {
		return nil, err
	}
	return &Scene{Client: client, Act: func(ctx context.Context) error { return client.visit(ctx, service, use) }}, nil
}

// visit uses a connection to a service and closes it. It returns when the service has closed it, too.
func (h *Host) visit(ctx context.Context, service *Service, use func(context.Context, *net.TCPConn) error) error {
	conn, err := h.dial(ctx, service.addr())
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := service.await(ctx, 1); err != nil {
		return err
	}
	if err := use(ctx, conn); err != nil {
		return err
	}
	if err := conn.Close(); err != nil {
		return err
	}
	return service.await(ctx, 0)
}

func buildSimultaneousClose(ctx context.Context, n *Network, s site) (*Scene, error) {
	client, server, wire, err := s.wired(ctx, n)
	if err != nil {
		return nil, err
	}
	service, err := server.Echo(s.service())
	if err != nil {
		return nil, err
	}
	var held *Crossing
	wire.Relay(func(c Crossing) {
		switch {
		case c.Flags&FlagFIN == 0 || c.From == server && held == nil:
			c.Pass()
		case c.From == client && held == nil:
			held = &c
			service.closeWrite()
		case c.From == server:
			held.Pass()
			c.Pass()
		}
	})
	return &Scene{Client: client, Act: func(ctx context.Context) error {
		return client.visit(ctx, service, func(_ context.Context, conn *net.TCPConn) error { return ask(conn) })
	}}, nil
}
