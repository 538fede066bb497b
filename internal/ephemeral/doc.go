// Package ephemeral starts a throw-away PostgreSQL cluster from the server binaries that a machine has, and takes it away
// again however the process that started it ends: returned, exited, panicked or killed with SIGKILL.
//
// It needs neither a running server, nor Docker, nor a TestMain. It works as root too, where it runs the server as an
// unprivileged user. Unix only: elsewhere [Start] returns [ErrNoBinaries].
package ephemeral
