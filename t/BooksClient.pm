# A client of t/Restore.pm, in a process of its own: an application that keeps
# books in the database and documents in files outside of it.  Each document is
# written to its file first, then committed together with its entries; "done" is
# noted when that was acknowledged.  So at any moment the files, the rows and the
# notes of a client differ by one at most.

package BooksClient;

use strict;
use warnings;

use StormClient;
use Time::HiRes qw(usleep);

# Until there is a file "stop", the folder is gone, or the connection is.
sub run
{
	my ($path, $database, $folder, $client) = @_;
	my $socket = StormClient::login($path, 'app', $database, application_name => "books $client") or die "no connection: $!";
	my $done = "$folder/done.$client";
	my $n = -e $done ? -s $done : 0;    # a byte for each

	$SIG{PIPE} = 'IGNORE';
	die 'no login' if StormClient::answer($socket) ne 'ok';
	open my $notes, '>>', $done or die "$done: $!";
	$notes->autoflush(1);
	while (-d $folder && !-e "$folder/stop")
	{
		my $text = "document $n of client $client " . 'x' x int(rand(2000));

		$n++;
		open my $file, '>', "$folder/document.$client.$n" or die "document: $!";
		print $file $text;
		close $file or die "document: $!";
		my $outcome = StormClient::query($socket, qq{
BEGIN;
INSERT INTO app.documents (client, n, content) VALUES ($client, $n, '$text');
UPDATE app.totals SET n = n + 1 WHERE client = $client;
INSERT INTO app.events (client, note) VALUES ($client, 'wrote $n');
COMMIT});
		die "$outcome in document $n of client $client" if $outcome ne 'ok';
		print $notes '.';
		usleep(5_000);
	}
	return;
}

1;
