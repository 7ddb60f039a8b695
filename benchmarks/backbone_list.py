"""The networks that `try_backbones` tries: small ones of each family, and layers of special ones.

A line is a name of timm's, the side of the images, and layers besides those that timm itself takes
for features (`feature_info`).
"""

from __future__ import annotations

from dataclasses import dataclass

_LINES = """
beit_base_patch16_224 224 patch_embed
botnet26t_256 256
cait_xxs24_224 224 patch_embed blocks.0.norm1 blocks_token_only.0
coat_tiny 224 patch_embed1 serial_blocks1.1 serial_blocks3.1
coatnet_nano_rw_224 224
convit_tiny 224 patch_embed blocks.9 blocks.10
convmixer_768_32 224 blocks.5 blocks.31
convnext_atto 224 stages.1.blocks.0.norm
convnextv2_atto 256
crossvit_9_240 240 blocks.0 patch_embed.1
csatv2 224
cspdarknet53 224
darknet17 224
davit_tiny 224
deit3_small_patch16_224 256 patch_embed
deit_tiny_distilled_patch16_224 224 blocks.3
densenet121 224 features.conv0 features.denseblock2
dla34 224
dpn68 224 features.conv3_1
edgenext_xx_small 224
efficientformer_l1 224
efficientformerv2_s0 224
efficientnet_b0 224 conv_stem bn1
efficientvim_m1 224
efficientvit_b0 224
efficientvit_m0 224
ese_vovnet19b_dw 224
eva02_tiny_patch14_336 336 patch_embed blocks.5
fasternet_t0 224
fastvit_t8 256
focalnet_tiny_srf 224
gcvit_xxtiny 224
gernet_s 224
ghostnet_100 224
gmlp_ti16_224 224 stem
halonet26t 256
hgnetv2_b0 224
hiera_tiny_224 224 patch_embed blocks.0 blocks.2 blocks.5
hrnet_w18_small 224 stage2 stage3
iformer_t 224
inception_next_atto 224
inception_resnet_v2 299
inception_v3 299
inception_v4 299
lcnet_050 224
legacy_seresnet18 224
legacy_xception 299
levit_128s 224
lowformer_b0 224
mambaout_femto 224 stem
maxvit_tiny_rw_224 224
mixer_s16_224 224 stem blocks.3 blocks.3.mlp_tokens
mixnet_s 224
mnasnet_100 224
mobilenetv3_small_050 224
mobilenetv4_conv_small 224
mobileone_s0 224
mobilevit_xxs 256 stages.3.1.transformer.0
mobilevitv2_050 256
mvitv2_tiny 224 patch_embed stages.0
naflexvit_base_patch16_gap 224 embeds blocks.3
nest_tiny 224 levels.0.transformer_encoder
nextvit_small 224
nfnet_l0 224
pit_ti_224 224 patch_embed transformers.0
poolformer_s12 224
pvt_v2_b0 224 patch_embed stages.0.blocks.0
rdnet_tiny 224
regnety_002 224
repghostnet_050 224
repvgg_a0 224
repvit_m0_9 224
res2net50_26w_4s 224
resmlp_12_224 224 stem
resnest14d 224
resnet18 224 conv1 bn1 layer1.0.bn1 layer1.0.bn2
resnetv2_50 224 stem.conv
rexnet_100 224
sam2_hiera_tiny 224 patch_embed blocks.0
samvit_base_patch16_224 224 patch_embed
selecsls42 224 features.1
sequencer2d_s 224 stem stages.0
shvit_s1 224
skresnet18 224
starnet_s1 224
swiftformer_xs 224
swin_tiny_patch4_window7_224 256 patch_embed layers.0.blocks.0.attn
swinv2_cr_tiny_ns_224 224 stages.1.blocks.0
swinv2_tiny_window8_256 224 patch_embed
tiny_vit_5m_224 224 stages.1.blocks
tnt_s_patch16_224 224 blocks.3 pixel_embed
tresnet_m 224
twins_pcpvt_small 224 patch_embeds.0 blocks.0
vgg11_bn 224
visformer_tiny 224
vit_pe_core_tiny_patch16_384 224 blocks.5
vit_relpos_small_patch16_224 224
vit_small_patch14_reg4_dinov2 224 patch_embed blocks.5 blocks.5.attn
vit_small_patch16_dinov3 224 patch_embed
vit_tiny_patch16_224 320 patch_embed norm
vit_tiny_r_s16_p8_224 224 patch_embed
vitamin_small_224 224
volo_d1_224 224 patch_embed network.0 network.2 post_network.0
wide_resnet50_2 224
xception41 299
xcit_nano_12_p16_224 224 patch_embed blocks.3 cls_attn_blocks.0
"""


@dataclass(frozen=True)
class Trial:
    """A network to try."""

    name: str
    imagesize: int
    layers: tuple[str, ...]  # besides those of timm's `feature_info`


def trials() -> list[Trial]:
    """Return what is tried, by name."""
    lines = (line.split() for line in _LINES.strip().splitlines())
    return [Trial(name, int(side), tuple(layers)) for name, side, *layers in lines]
