package listen

import "syscall"

// rawConn shortens a name in tests.
type rawConn = syscall.RawConn
