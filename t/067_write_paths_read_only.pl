# How writes get around a freeze by strategy read_only: write_paths/read_only.txt.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/write_paths";
use WritePaths;

write_paths('read_only');
