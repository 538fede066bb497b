package wireproxy

import (
	"encoding/binary"
	"net"
	"slices"
)

// act does what a point asks for before its statement, with which the rest of the batch begins. It returns whether the
// connection goes on.
func (c *connection) act(point *Point, rest []byte) bool {
	switch point.action {
	case Stop:
		select {
		case <-point.resumed:
			point.over()
			return true
		case <-c.clientGone:
		case <-c.closed:
		}
		c.close()
	case StopAfter, CutAfter, ResetAfter, FailAfter:
		c.awaitAnswer(point)
		return true
	case ResetBefore:
		c.reset()
	case HalfClose:
		if tcp, ok := c.client.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
		select {
		case <-c.clientGone:
		case <-c.closed:
		}
		c.close()
	case Orphan:
		c.proxy.record.orphan(point.statement.Backend)
		_ = c.client.Close()
		select {
		case <-point.resumed:
			c.awaitAnswer(point)
			c.send(rest)
			return false
		case <-c.closed:
		}
	default: // CutBefore
		c.close()
	}
	point.over()
	return false
}

// awaitAnswer leaves the rest to actAfter.
func (c *connection) awaitAnswer(point *Point) {
	c.after.Store(point)
	select {
	case <-c.closed: // perhaps before writeClient could see the point
		point.over()
	default:
	}
}

// actAfter does what a point asks for with the answer, once it is there as a whole. It returns whether the connection goes on.
func (c *connection) actAfter(point *Point, b batch, settled bool) bool {
	c.held = append(c.held, b.bytes...)
	if !settled {
		return true
	}
	switch point.action {
	case StopAfter:
		close(point.reached)
		select {
		case <-point.resumed:
		case <-c.clientGone:
			return false
		case <-c.closed:
			return false
		}
		_, err := c.client.Write(c.held)
		c.held = nil
		c.after.Store(nil)
		point.over()
		return err == nil
	case FailAfter:
		_, err := c.client.Write(failed(c.held))
		c.held = nil
		c.after.Store(nil)
		point.over()
		return err == nil
	case ResetAfter:
		c.reset()
	}
	return false
}

// failed replaces the last CommandComplete of an answer by an error.
func failed(answer []byte) []byte {
	begin, end := -1, 0
	for at := 0; at < len(answer); {
		m, complete, err := messageAt(answer, at)
		if err != nil || !complete {
			break
		}
		if m.kind == 'C' {
			begin, end = at, m.end
		}
		at = m.end
	}
	if begin < 0 {
		return answer
	}
	body := "SERROR\x00VERROR\x00CXX000\x00Mconnection to the remote node failed\x00\x00"
	reply := append(slices.Clone(answer[:begin]), 'E')
	reply = binary.BigEndian.AppendUint32(reply, uint32(4+len(body)))
	return append(append(reply, body...), answer[end:]...)
}
