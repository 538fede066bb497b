// Package protocol tests the SQL functions of migrations/functions beside pgstore, on one table: what one side writes the other reads, byte for
// byte, and of both sides together one takes effect. It holds tests only.
package protocol
