# DDColor 3.2.2 to the letter: the colour embeddings start from zeros, where the released network has learned values.
_base_ = ['../ddcolor_large.py']

model = dict(generator=dict(learn_query_features=False))
