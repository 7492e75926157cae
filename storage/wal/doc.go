// Package wal is the write-ahead log that the logs of one directory share, so that a record is durable after one write to
// one file, whichever partition it is of.
//
// An fdatasync of a log's own file must also bring its new length to disk, through the journal of the file system, for each
// log apart. Here all that is appended while a write is under way goes down with the next one, past the page cache, into
// files whose blocks are there already: half the time at a low rate, a fraction of the syncs at a high one. The logs'
// own files are written too, as always, and synced later: by a checkpoint, or when the space here is needed again.
//
// # How it is used
//
// A log has a [Client]. Having written bytes into a segment at some position, it gives them to [Client.Add]. When that
// answers false (nothing is prepared yet, or no room is left), the log syncs its file itself, as if there were no such
// thing as this package. Otherwise Durable is called once the bytes are on disk here. After a sync of its file that
// covers what it had added, the log says so ([Client.Synced]).
//
// # What a log must keep to
//
// After a crash [Replay] gives back what was added, to be written into the segments at the same positions again, before
// the logs are opened. So:
//
//   - what lies before the bytes of an Add, in that file, is durable by then, or was added here before;
//   - the file's name is durable;
//   - whoever cuts a segment, or puts other bytes at those positions, first syncs the files and then calls [Client.Void]:
//     what was added before is given back no more.
//
// What is durable is told on the goroutine that wrote it, while another one writes on: who is told may wait for a log that waits for a
// void, but for no Close of the write-ahead log.
//
// Files are used one after the other, and again when all that was added to them is synced where it belongs. FORMAT.md of
// storage has their form.
package wal
