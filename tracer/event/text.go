package event

import "strconv"

// AppendText adds what [Kind.String] says. It never fails.
func (k Kind) AppendText(dst []byte) ([]byte, error) { return append(dst, k.String()...), nil }

// MarshalText is [Kind.String]. It never fails.
func (k Kind) MarshalText() ([]byte, error) { return k.AppendText(nil) }

// UnmarshalText is [ParseKind].
func (k *Kind) UnmarshalText(text []byte) (err error) {
	*k, err = ParseKind(string(text))
	return err
}

// AppendText adds what [State.String] says. It never fails.
func (s State) AppendText(dst []byte) ([]byte, error) { return append(dst, s.String()...), nil }

// MarshalText is [State.String]. It never fails.
func (s State) MarshalText() ([]byte, error) { return s.AppendText(nil) }

// UnmarshalText is [ParseState].
func (s *State) UnmarshalText(text []byte) (err error) {
	*s, err = ParseState(string(text))
	return err
}

// AppendText adds what [Role.String] says. It never fails.
func (r Role) AppendText(dst []byte) ([]byte, error) { return append(dst, r.String()...), nil }

// MarshalText is [Role.String]. It never fails.
func (r Role) MarshalText() ([]byte, error) { return r.AppendText(nil) }

// UnmarshalText is [ParseRole].
func (r *Role) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRole(string(text))
	return err
}

// AppendText adds what [Errno.String] says. It never fails.
func (e Errno) AppendText(dst []byte) ([]byte, error) { return append(dst, e.String()...), nil }

// MarshalText is [Errno.String]. It never fails.
func (e Errno) MarshalText() ([]byte, error) { return e.AppendText(nil) }

// UnmarshalText is [ParseErrno].
func (e *Errno) UnmarshalText(text []byte) (err error) {
	*e, err = ParseErrno(string(text))
	return err
}

// AppendText adds what [ConnID.String] says. It never fails.
func (id ConnID) AppendText(dst []byte) ([]byte, error) {
	return strconv.AppendUint(dst, uint64(id), 36), nil
}

// MarshalText is [ConnID.String]. It never fails.
func (id ConnID) MarshalText() ([]byte, error) { return id.AppendText(nil) }

// UnmarshalText is [ParseConnID].
func (id *ConnID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseConnID(string(text))
	return err
}
