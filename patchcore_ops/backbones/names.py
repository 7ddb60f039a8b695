"""The names of backbones: the reference's, and that of the weights that come by pip."""

from __future__ import annotations

from collections.abc import Mapping

EFFICIENTNET_LITE0 = "efficientnet_lite0"

# The reference loads its backbones from torchvision (ImageNet-1k V1 weights, which timm calls
# tv_in1k) and, for the rest, from timm under an older timm's names.
REFERENCE_NAMES: Mapping[str, str] = {
    "resnet50": "resnet50.tv_in1k",
    "resnet101": "resnet101.tv_in1k",
    "resnext101": "resnext101_32x8d.tv_in1k",
    "wideresnet50": "wide_resnet50_2.tv_in1k",
    "wideresnet101": "wide_resnet101_2.tv_in1k",
    "vgg11": "vgg11.tv_in1k",
    "vgg19": "vgg19.tv_in1k",
    "vgg19_bn": "vgg19_bn.tv_in1k",
    "densenet121": "densenet121.tv_in1k",
    "densenet201": "densenet201.tv_in1k",
    "resnest50": "resnest50d_4s2x40d",
    "resnetv2_50_bit": "resnetv2_50x3_bit.goog_in21k_ft_in1k",
    "resnetv2_50_21k": "resnetv2_50x3_bit.goog_in21k",
    "resnetv2_101_bit": "resnetv2_101x3_bit.goog_in21k_ft_in1k",
    "resnetv2_101_21k": "resnetv2_101x3_bit.goog_in21k",
    "resnetv2_152_bit": "resnetv2_152x4_bit.goog_in21k_ft_in1k",
    "resnetv2_152_21k": "resnetv2_152x4_bit.goog_in21k",
    "resnetv2_152_384": "resnetv2_152x2_bit.goog_teacher_in21k_ft_in1k_384",
    "mnasnet_b1": "mnasnet_100",
    "mnasnet_a1": "semnasnet_100",
    "vit_small": "vit_small_patch16_224",
    "vit_base": "vit_base_patch16_224",
    "vit_large": "vit_large_patch16_224",
    "vit_r50": "vit_large_r50_s32_224",
    "vit_deit_base": "deit_base_patch16_224",
    "vit_deit_distilled": "deit_base_distilled_patch16_224",
    "vit_swin_base": "swin_base_patch4_window7_224",
    "vit_swin_large": "swin_large_patch4_window7_224",
    "efficientnet_b7": "tf_efficientnet_b7",
    "efficientnet_b5": "tf_efficientnet_b5",
    "efficientnet_b3": "tf_efficientnet_b3",
    "efficientnet_b1": "tf_efficientnet_b1",
    "efficientnetv2_m": "tf_efficientnetv2_m",
    "efficientnet_b3a": "efficientnet_b3",
}
