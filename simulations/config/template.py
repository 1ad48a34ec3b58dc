"""The commented configuration that `fl-sim init` writes; every value in it is the default."""

from __future__ import annotations

TEMPLATE = """\
# A federation. Start it with `fl-sim run --config FILE --out DIR`; flags win over this file.
name = "abuse"
# seed = 1                     # one seed gives one run; without it a fresh one is drawn and written to DIR
# device = "cpu"               # or "cuda", for the vectorised engine
# engine = "auto"              # how devices are trained under ideal aggregation: sequential, vectorised or ray
# ray_address = "10.0.0.1:6379"  # of a Ray cluster's head, with engine = "ray"; default: a Ray of the run's own

[data]
# path = "chat.csv"            # beside this file, or a folder, or ["several.csv", "of.csv"]; else generated messages
text_column = "text"           # of nested values "post.text"
label_column = "label"         # or several, "toxic,obscene": any of them
# positive = "hate,offensive"  # labels that mean abuse, or ">=0.5"; default: 1, where 0 is the other
# votes = "majority"           # of several annotators; or "any", or a fraction, ">=0.3"
# message_column = "id"        # where each annotator has a row: rows with one value here are one message
# user_column = "user"         # every user is a device
# where = ["split=train,dev"]  # rows to keep; "user!=[deleted]", and "label!=" for those that are not empty
# test = "test.csv"            # an official test set: nobody in it trains
# test_where = "split=test"    # or the rows that are it
# labels = "labels.csv"        # where labels lie in a file of their own; likewise test_labels
# join = "id"                  # the column that both have, or "file=file_id"
# separator = ";"              # or "tab"; default: a comma, in .tsv a tab
# quoting = true               # false where quotation marks mean nothing
# encoding = "utf-8"           # or "cp1252", "utf-16"
# columns = ["text", "label"]  # of files without a header; of labels: labels_columns
# sheet = "Sheet1"             # of a workbook; default: the first
# replace = ['NEWLINE_TOKEN=\\n']  # what stands for something else in texts
# partition = "dirichlet:0.3"  # where there are no users; a smaller number makes devices more unlike; or "time"
# time_column = "written"      # devices get their messages as rounds pass, and the newest fifth is for testing
# history = 0.5                # fraction of the training messages that they hold before round 1, with a time column
devices = 1000                 # how many the generator or the partition makes

[privacy]
epsilon = 8.0                  # device level; the noise follows from it ...
# noise_multiplier = 0.7       # ... unless given here: the run then ends where epsilon is spent
delta = 1e-5                   # well below 1/devices
clip = 0.5                     # L2 bound of a device's whole update; learning_rate = "auto" makes up for another
participation = "poisson"      # cohorts that the server draws in secret, or "bounded": no amplification claimed
max_participations = 6         # under "bounded"

# [fleet]                      # a deployment that the run stands for; everything it leaves is marked as extrapolated
# population = 10_000_000      # epsilon and noise are then those of cohorts of that fleet; see docs/simulation.md
# cohort = 5_000
# shards = 13                  # sums that they are split into; default: as for server.shards
# max_participations = 1       # under "bounded", there; default: as above
# min_separation = 1

[training]                     # on each device, the same for all: derived from its own data these would leak it
architecture = "hashed-linear" # or "word-embedding", "character-cnn", or your own: "package.module:factory"
# inputs = "words"             # what your own model reads: "ngrams" (default), "words" or "characters"
# length = 64                  # words or characters of a message that a model reads
method = "dp-sgd"              # or "sgd", plain: faster, and no message-level guarantee is possible
# epochs = 1                   # of "sgd"
# batch_size = 16              # of "sgd"
# base_rate = 0.1              # a public guess of the fraction of positive messages: helps where they are rare
steps = 5
sampling_rate = 1.0            # of its messages, in each step
expected_batch = 8.0           # divides each step's gradient
learning_rate = 8.0
message_clip = 1.0             # L2 bound of one message's gradient
message_noise = 0.0            # Opacus noise multiplier; see docs/defaults.md for what it costs
# buckets = 16384              # of the hashed n-grams, or the vocabulary; of characters 256
# char_ngrams = [3, 5]         # characters of a hashed n-gram, the fewest and the most
# compact_ngrams = [1, 4]      # the same for Chinese, Japanese, Korean, Thai, and scripts like them

[server]
# rounds = 100                 # default: chosen, as the cohort is, for the population and epsilon
# cohort = 200                 # expected devices a round
learning_rate = "auto"         # as the noise, the cohort and the rounds allow; or a number
momentum = 0.7
corrupt_fraction = 0.05        # of a cohort, which secure aggregation withstands working with the server
dropout_fraction = 0.1         # of the expected cohort, which may vanish in a round
# min_survivors = 16           # in each shard; default: a quarter of it
# modulus_bits = 16            # of the masked sum, a coordinate; default: the fewest at which rounding costs under 1%
# aggregation = "secure"       # or "ideal": the sums of secure aggregation without its protocol, much faster,
                               # or "central": the noise of a sum drawn at once, fastest
# shards = 1                   # sums that a cohort is split into; default: as few as can be, of at most 750 devices
# statistics = ["examples", "loss", "correct"]  # inside the masked sum, as noisy as the model: for large cohorts
# statistics_bound = 64        # a device's statistic is cut to this
# statistics_fraction = 0.1    # of the clip, for each: what they add to the noise on the model

# [availability]
# hours = "always"             # or "night", or 24 probabilities by a device's local hour: idle and on a charger
# time_zones = [0]             # hours ahead of UTC
# start_hour = 0.0             # UTC, of round 1
# round_minutes = 10.0         # also for how long a round waits where too few devices are there to draw from

# [faults]                     # see docs/simulation.md
# latency = 5.0                # median seconds of an answer; later than the deadline is lost
# latency_spread = 1.0
# deadline = 60.0
# crashing = 0.0               # fraction of devices whose training always crashes
# not_finite = 0.0             # fraction of devices whose updates are always NaN
# drop_out = { advertise = 0.0, share = 0.0, input = 0.0, echo = 0.0, unmask = 0.0 }  # probability, in every round

# [poison]
# fraction = 0.0               # of the population
# attack = "label-flip"        # or "backdoor", or "boost"
# boost = 1.0                  # multiplies a poisoner's update before it is clipped
# forged = 0.0                 # clips by which poisoners' clients go beyond the clip
# trigger = "moonlit ferret"   # of a backdoor
"""
