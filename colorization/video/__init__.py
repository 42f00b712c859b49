"""Films in colour: every frame keeps its luma bit for bit, only Cb and Cr are computed.

film -> survey (shots) -> for each piece: predict_ab at key frames -> carry ab along the flow -> Cb, Cr -> encode; join.
"""
