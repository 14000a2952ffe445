package lab

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// ServeDNS answers DNS queries over UDP at an address of the host until the network is closed. It knows the addresses of
// the names in records, written without the final dot, and says NXDOMAIN for every other name.
func (h *Host) ServeDNS(addr netip.AddrPort, records map[string][]netip.Addr) error {
	var conn *net.UDPConn
	err := h.Do(func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		return err
	})
	if err != nil {
		return fmt.Errorf("serve DNS on %s: %w", h.Name, err)
	}
	server := &nameServer{conn: conn, zone: newZone(records)}
	server.wg.Go(server.serve)
	return h.network.onClose(server.close)
}

type nameServer struct {
	conn *net.UDPConn
	zone zone
	wg   sync.WaitGroup
}

// serve returns when the socket is closed.
func (s *nameServer) serve() {
	query := make([]byte, 1232) // the largest that common resolvers send
	for {
		n, client, err := s.conn.ReadFromUDPAddrPort(query)
		if err != nil {
			return
		}
		if response, ok := s.zone.answer(query[:n]); ok {
			// Like a query, a response may get lost: the client asks again.
			_, _ = s.conn.WriteToUDPAddrPort(response, client)
		}
	}
}

func (s *nameServer) close() error {
	err := s.conn.Close()
	s.wg.Wait()
	return err
}

// zone has the addresses of names in lower case, with the final dot.
type zone map[string][]netip.Addr

func newZone(records map[string][]netip.Addr) zone {
	z := make(zone, len(records))
	for name, addrs := range records {
		z[strings.ToLower(name)+"."] = addrs
	}
	return z
}

// answer is the response to a query. It is not ok, and gets no response, that something is not a query with one question.
func (z zone) answer(query []byte) (response []byte, ok bool) {
	var parser dnsmessage.Parser
	header, err := parser.Start(query)
	if err != nil || header.Response {
		return nil, false
	}
	question, err := parser.Question()
	if err != nil {
		return nil, false
	}
	addrs, exists := z[strings.ToLower(question.Name.String())]
	message := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: header.ID, Response: true, Authoritative: true, RecursionDesired: header.RecursionDesired,
		},
		Questions: []dnsmessage.Question{question},
		Answers:   answers(question, addrs),
	}
	if !exists {
		message.RCode = dnsmessage.RCodeNameError
	}
	response, err = message.Pack()
	return response, err == nil
}

// answers are the resource records for those of addrs that are of the type asked for. They may not be cached.
func answers(question dnsmessage.Question, addrs []netip.Addr) []dnsmessage.Resource {
	var resources []dnsmessage.Resource
	for _, addr := range addrs {
		body := addressRecord(addr)
		if kind := recordType(addr); kind == question.Type {
			header := dnsmessage.ResourceHeader{Name: question.Name, Type: kind, Class: dnsmessage.ClassINET}
			resources = append(resources, dnsmessage.Resource{Header: header, Body: body})
		}
	}
	return resources
}

func recordType(addr netip.Addr) dnsmessage.Type {
	if addr.Is4() {
		return dnsmessage.TypeA
	}
	return dnsmessage.TypeAAAA
}

func addressRecord(addr netip.Addr) dnsmessage.ResourceBody {
	if addr.Is4() {
		return &dnsmessage.AResource{A: addr.As4()}
	}
	return &dnsmessage.AAAAResource{AAAA: addr.As16()}
}
