# How writes get around a freeze of a role by strategy lock: write_paths/lock.txt.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/write_paths";
use WritePaths;

write_paths('lock', 'grantee', 'owner');
